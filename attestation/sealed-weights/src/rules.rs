//! The rules by which packages, files and keys are refused, one table for each stage. Codes are stable.

use std::fmt;

/// An enum of rules with a stable code and a text for each. `ALL` lists them for tests and documents.
macro_rules! rules {
    ($(#[$meta:meta])* $name:ident in $stage:literal { $($variant:ident $code:literal $text:literal)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $stage, "_", $code, "`: ", $text, ".")] $variant,)+
        }

        impl $name {
            /// Every rule of the stage.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable code: the stage's word and the rule's.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($stage, "_", $code),)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)+
                })
            }
        }
    };
}

rules! {
    /// Rules of the manifest's envelope and statement.
    ManifestRule in "manifest" {
        TooLong "too_long" "larger than 256 KiB"
        NotEnvelope "not_envelope" "not a DSSE envelope"
        NotCanonical "not_canonical" "envelope is not in its canonical form"
        PayloadType "payload_type" "payload type is not application/vnd.in-toto+json"
        PayloadBase64 "payload_base64" "payload is not canonical base64"
        NotStatement "not_statement" "payload is not a sealed-weights statement"
        StatementType "statement_type" "statement or predicate type is not the expected one"
        Format "format" "format version is not 2"
        Suite "suite" "suite is not one of this format version"
        ModelId "model_id" "model id is not at most 128 letters, digits, '.', '_', '-' between '/'"
        VersionZero "version_zero" "version is zero"
        Times "times" "times are not created before not-after, until the year 9999"
        SubjectCount "subject_count" "subjects and objects differ in number"
        SubjectName "subject_name" "subject and object name different files"
        SubjectDigest "subject_digest" "subject's digest is not of the suite's tree"
        SegmentLength "segment_length" "segment length is not 1, 4 or 16 MiB and 32 bytes"
        PlaintextLength "plaintext_length" "plaintext length is zero or beyond the limit of the role"
        Lengths "lengths" "segment count or ciphertext length does not follow from the plaintext"
        HeaderParameters "header_parameters" "header has other parameters than the object"
        CardPlace "card_place" "card is not the first object and only that"
        Shared "shared" "two objects share an id or a header"
        DuplicateRole "duplicate_role" "two objects share a role that only one may have"
        BundleNotAlone "bundle_not_alone" "bundle is not the only object beside the card"
        WeightsCount "weights_count" "not between 1 and 256 objects of weights"
    }
}

rules! {
    /// Rules of the manifest's signature.
    SignatureRule in "signature" {
        Count "count" "envelope must have exactly one signature"
        OtherOwner "other_owner" "envelope names another key than the owner's"
        Encoding "encoding" "signature is not canonical base64"
        Invalid "invalid" "signature does not verify under the owner's key"
    }
}

rules! {
    /// Genuine parts that do not belong together.
    MixedRule in "mixed" {
        NotReleased "not_released" "manifest is not the one the release names"
        OtherModel "other_model" "previous manifest is of another model"
        OtherPredecessor "other_predecessor" "manifest names another predecessor"
        FileCount "file_count" "files and manifest list different objects"
        CardFiles "card_files" "card and manifest list different files"
        OtherObject "other_object" "header and segment hashes are of another object"
        UnknownObject "unknown_object" "object is not one of the manifest's"
    }
}

rules! {
    /// Rules of an object's FLOE header.
    HeaderRule in "header" {
        NotSigned "not_signed" "not the header that the manifest names"
        OtherKey "other_key" "header was not made with this weights key for this object"
    }
}

rules! {
    /// Rules of one encrypted segment.
    SegmentRule in "segment" {
        NotInTree "not_in_tree" "not the segment that the tree names"
        LengthWord "length_word" "length word is not that of its place"
        Absent "absent" "object has no such segment"
        Length "length" "segment has another length"
    }
}

rules! {
    /// Rules of the card.
    CardRule in "card" {
        Tree "tree" "segments do not lead to the signed root"
        NotCard "not_card" "not the JSON of a card"
        Format "format" "format version is not 2"
        TooLong "too_long" "larger than 64 MiB"
        Padding "padding" "objects are not of the padding that the card states"
        PaddingBytes "padding_bytes" "padding holds other bytes than it must"
        Place "place" "file does not lie where the padding puts it"
        FileName "file_name" "file has another name than its role allows"
        FileOrder "file_order" "files are not in the order of their roles, each once"
        Missing "missing" "weights, config or tokenizer is missing"
        Containers "containers" "weights are of several containers"
        Tables "tables" "not one table of tensors for each file of weights"
        Shards "shards" "numbered files of weights are not complete"
        IndexPresence "index_presence" "weights index does not go with numbered safetensors"
        Digest "digest" "file is not the one that the card describes"
    }
}

rules! {
    /// Rules of tables of tensors, whatever they come from, and of safetensors headers.
    TensorRule in "tensors" {
        HeaderCut "header_cut" "header is cut off"
        HeaderTooLong "header_too_long" "header is longer than the container's limit"
        HeaderBeyondFile "header_beyond_file" "header is longer than the file"
        NoBrace "no_brace" "header does not begin with a brace"
        NotTable "not_table" "header is not a table of tensors"
        Count "count" "no tensor, or more than 65536 in one file"
        ModelCount "model_count" "more than 262144 tensors in the model"
        Name "name" "name of a tensor is empty or longer than 512 bytes"
        DuplicateName "duplicate_name" "two tensors share a name"
        Rank "rank" "tensor has more than 8 dimensions"
        Size "size" "shape and element type do not give the number of bytes"
        ElementType "element_type" "element type is not one of the container's"
        Gap "gap" "tensors overlap or leave a gap"
        End "end" "tensors do not end where the file does"
        Disagree "disagree" "file's header and card disagree"
        Unaligned "unaligned" "tensor does not begin at a multiple of its element size"
    }
}

rules! {
    /// Rules of GGUF files beyond those of their table of tensors.
    GgufRule in "gguf" {
        Magic "magic" "file does not begin with GGUF"
        Version "version" "version is not 2 or 3, little-endian"
        Cut "cut" "header is cut off or longer than 64 MiB"
        KeyCount "key_count" "more than 4096 metadata keys"
        Key "key" "metadata key is not at most 128 bytes of lower-case ASCII between '.'"
        DuplicateKey "duplicate_key" "two metadata values share a key"
        CodeKey "code_key" "metadata key asks for code that is not in the package"
        StringLength "string_length" "text is longer than 1 MiB"
        Utf8 "utf8" "text is not UTF-8"
        ArrayLength "array_length" "array has more than 2097152 elements"
        NestedArray "nested_array" "array of arrays"
        ValueType "value_type" "metadata value is of no known type"
        Bool "bool" "boolean is neither 0 nor 1"
        Alignment "alignment" "alignment is not a power of two from 8 to 65536"
        Rank "rank" "tensor has no or more than 4 dimensions"
        TensorType "tensor_type" "tensor is of no known type, or of one that is never stored"
        Block "block" "first dimension is not a multiple of the type's block"
        Offset "offset" "tensor does not begin at the next multiple of the alignment"
        Split "split" "split numbers do not fit the file's name or its tensors"
    }
}

rules! {
    /// Rules of the JSON files and texts of a model.
    JsonRule in "json" {
        Utf8 "utf8" "not UTF-8"
        Malformed "malformed" "not one well-formed JSON value"
        TooDeep "too_deep" "more than 32 levels deep"
        DuplicateKey "duplicate_key" "an object has a key twice"
        CodeKey "code_key" "a key asks for code that is not in the package"
        ModuleType "module_type" "a module is not one of sentence-transformers"
    }
}

rules! {
    /// Rules of `model.safetensors.index.json`.
    IndexRule in "weights_index" {
        NotIndex "not_index" "not the JSON of a weights index"
        TooMany "too_many" "more than 262144 tensors"
        OtherFile "other_file" "tensor is not in the file that the index names"
        Incomplete "incomplete" "index does not name every tensor"
    }
}

rules! {
    /// Rules of an OpenSSF model signature.
    ModelSignatureRule in "model_signature" {
        TooLong "too_long" "larger than 1 MiB"
        SignerKey "signer_key" "signer's key is not ECDSA P-256, P-384 or Ed25519 as SubjectPublicKeyInfo"
        NotBundle "not_bundle" "not a Sigstore bundle with a DSSE envelope"
        MediaType "media_type" "media type is not that of Sigstore bundle 0.3"
        Base64 "base64" "payload or signature is not canonical base64"
        PayloadType "payload_type" "payload type is not application/vnd.in-toto+json"
        Count "count" "envelope must have exactly one signature"
        Hint "hint" "bundle names another public key"
        Invalid "invalid" "signature does not verify under the signer's key"
        NotStatement "not_statement" "payload is not a model signing statement"
        StatementType "statement_type" "statement or predicate type is not that of model signing 1.0"
        Subject "subject" "not one subject with a SHA-256 digest"
        Method "method" "model was not hashed file by file with SHA-256"
        Resource "resource" "resource has no name or no SHA-256 digest"
        ResourceCount "resource_count" "not between 1 and 4096 resources"
        DuplicateResource "duplicate_resource" "two resources share a name"
        RootDigest "root_digest" "subject's digest is not that of the resources"
        Unsigned "unsigned" "a file of the package is not among the resources"
        Digest "digest" "a file has another digest than the signed one"
        Incomplete "incomplete" "a signed file of the model is not in the package"
    }
}

rules! {
    /// Rules of the folder to seal.
    SourceRule in "source" {
        Missing "missing" "required file is missing"
        NotRegular "not_regular" "not a readable regular file"
        Size "size" "empty, or larger than files of its role may be"
        Link "link" "links are not sealed"
        Pickle "pickle" "serialised objects can run code when they are read; convert the weights to safetensors"
        Code "code" "code is not sealed"
        SentencePiece "sentence_piece" "SentencePiece models are not sealed; tokenizer.json holds the same"
        Vocabulary "vocabulary" "vocabulary files are not sealed; tokenizer.json holds the same"
        Unknown "unknown" "not one of the files that a package may hold"
        Shards "shards" "numbered files of weights are not complete"
        SeveralWeights "several_weights" "weights are there more than once"
        TooManyWeights "too_many_weights" "more than 256 files of weights"
        IndexPresence "index_presence" "weights index goes with numbered safetensors and nothing else"
        Changed "changed" "changed while it was read"
    }
}

rules! {
    /// Rules of the options for sealing.
    OptionRule in "options" {
        ModelId "model_id" "model id is not at most 128 letters, digits, '.', '_', '-' between '/'"
        VersionZero "version_zero" "version is zero"
        Times "times" "times are not created before not-after, until the year 9999"
        PreviousModel "previous_model" "previous manifest is of another model"
        PreviousVersion "previous_version" "version is not higher than that of the previous manifest"
        OutputName "output_name" "output has no name"
        OutputExists "output_exists" "output exists already"
        TooLarge "too_large" "model is larger than a bundle may be"
    }
}

rules! {
    /// Rules of keys.
    KeyRule in "key" {
        Randomness "randomness" "the system gives no randomness"
        Document "document" "owner key is not an Ed25519 key in PKCS #8 version 2"
        Seed "seed" "owner key seed is refused"
    }
}

rules! {
    /// Rules of the memory that a caller gives for tensors.
    DestinationRule in "destination" {
        Count "count" "not one for each tensor"
        Length "length" "not of its tensor's length"
        NotNumbers "not_numbers" "tensor is not of F32, F16 or BF16"
        Memory "memory" "tensor exceeds memory"
        BlockLength "block_length" "staging block is not between one segment and 1 GiB"
        Consumer "consumer" "consumer refused a staged block"
        Panicked "panicked" "a loading thread panicked"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_words() {
        let mut codes = Vec::new();
        macro_rules! add {
            ($($name:ident)+) => { $(codes.extend($name::ALL.iter().map(|rule| (rule.code(), rule.to_string())));)+ };
        }
        add!(ManifestRule SignatureRule MixedRule HeaderRule SegmentRule CardRule TensorRule GgufRule JsonRule);
        add!(IndexRule ModelSignatureRule SourceRule OptionRule KeyRule DestinationRule);
        for (code, text) in &codes {
            assert!(
                code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
            assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
        }
        let count = codes.len();
        codes.sort();
        codes.dedup_by(|a, b| a.0 == b.0);
        assert_eq!(codes.len(), count);
    }
}
