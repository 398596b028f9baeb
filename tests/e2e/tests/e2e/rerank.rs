//! A sealed reranker, asked over the attested connection.

use crate::support::{Served, count};
use anchorhold_e2e::models::{RERANKER, project};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The golden scores of one query's documents, best first: index and score.
fn wanted(query: &str) -> (Vec<String>, Vec<(usize, f64)>) {
    let path = project().join("tests/vectors/models/encoders.json");
    let goldens: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pairs = goldens["xlm-reranker"]["pairs"].as_array().unwrap();
    let pairs: Vec<&Value> = pairs.iter().filter(|pair| pair["query"] == query).collect();
    let documents = pairs.iter().map(|pair| pair["document"].as_str().unwrap().to_owned()).collect();
    let score = |pair: &&Value| {
        let bytes = STANDARD.decode(pair["score"].as_str().unwrap()).unwrap();
        f64::from(f32::from_le_bytes(bytes.try_into().unwrap()))
    };
    let mut scores: Vec<(usize, f64)> = pairs.iter().map(score).enumerate().collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    (documents, scores)
}

#[test]
fn a_sealed_reranker_scores_as_its_cross_encoder_does() {
    let served = Served::reranker();
    let query = "what is a panda";
    let (documents, scores) = wanted(query);
    assert!(documents.len() >= 2);
    let body = json!({"model": RERANKER, "query": query, "documents": documents, "return_documents": true});
    let answer = served.post("/v1/rerank", &body);
    assert_eq!(answer.status, 200);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), scores.len());
    for (result, (index, score)) in results.iter().zip(scores) {
        assert_eq!(
            (&result["index"], &result["document"]["text"]),
            (&json!(index), &json!(documents[index]))
        );
        assert!((result["relevance_score"].as_f64().unwrap() - score).abs() < 1e-5);
    }
    assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 8);

    let long = json!({"model": RERANKER, "query": query, "documents": ["x".repeat(100)]});
    let refused = served.post("/v1/rerank", &long);
    let error: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((refused.status.as_u16(), &error["error"]["code"]), (400, &json!("context_length_exceeded")));

    let entries = served.stop();
    let rerank = |entry: &&Value| entry["req"]["route"] == "rerank";
    assert_eq!((entries.iter().filter(rerank).count(), count(&entries, "infer.complete")), (2, 1));
}
