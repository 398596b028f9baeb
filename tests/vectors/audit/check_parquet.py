"""Reads entries.parquet (or the file named) with pyarrow and holds every row against entries.jsonl, whose entries repeat in it."""
import json
import pathlib
import sys

import pyarrow.parquet as pq

here = pathlib.Path(__file__).parent
path = sys.argv[1] if len(sys.argv) > 1 else here / "entries.parquet"
entries = [json.loads(line) for line in (here / "entries.jsonl").read_text().splitlines()]
file = pq.ParquetFile(path)
table = file.read()
for index, row in enumerate(table.to_pylist()):
    entry = entries[index % len(entries)]
    request, model = entry.get("req", {}), entry.get("model", {})
    wanted = {
        "index": index, "type": entry["type"], "outcome": entry["out"], "code": entry["code"], "severity": entry["sev"],
        "tenant": entry.get("actor", {}).get("tenant"), "request": request.get("rid"), "status": request.get("status"),
        "streamed": request.get("stream"), "prompt_tokens": request.get("tin"), "first_token_milliseconds": request.get("ttft_ms"),
        "model": model.get("id"), "model_version": model.get("ver"), "id": entry["id"],
    }
    got = {name: row[name] for name in wanted}
    assert got == wanted, (index, got, wanted)
    assert row["time"].value == entry["t"] if hasattr(row["time"], "value") else row["time"].timestamp() == entry["t"] / 1e9, index
print(f"{path}: {table.num_rows} rows, {file.num_row_groups} groups, {table.num_columns} columns as in entries.jsonl")
print(file.schema_arrow.field("time"), file.schema_arrow.field("streamed"), file.schema_arrow.field("index"))
