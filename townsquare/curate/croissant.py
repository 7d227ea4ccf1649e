"""Croissant metadata (http://mlcommons.org/croissant/1.0): what a corpus holds, for programs that look for data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from townsquare import receipts
from townsquare.curate import tables

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
PARQUET = "application/x-parquet"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification gives, as its reference implementation writes it."""

TABLES = {
    "documents": "Training texts, each one post or one self-thread.",
    "conversations": "Paths through reply trees, told as turns of user and assistant.",
    "pairs": "Two replies to one post, of which one was better received.",
    "dropped": "Posts that were left out, by id, each with its first reason. No text.",
}
FIELDS = {
    "document_id": "Id of the first post.",
    "conversation_id": "Id of the thread's root post.",
    "pair_id": "Ids of the two replies, the better received one first.",
    "uid": "Id of the post, network first.",
    "uids": "Ids of all posts that the row was made from.",
    "text": "What is learned.",
    "turns": "Who says what: role (user or assistant), text, ids of the posts.",
    "prompt": "The turns before the two replies.",
    "chosen": "The better received reply.",
    "rejected": "The other reply.",
    "author_id": "The author's id in their network.",
    "network": "Where the post was made.",
    "source": "posts, or the name of a packaged data set.",
    "created_at": "When the post was made, UTC; null where unknown.",
    "lang": "Language (ISO 639); null where unknown.",
    "split": "train, validation or test: use no other split for training.",
    "scores": "Names and values of what curation measured.",
    "rule": "The rule that left the post out.",
    "reason": "Why, in a word.",
    "score": "The rule's score, where it has one.",
}
PARTS = {
    "role": "user or assistant.",
    "text": "What is said.",
    "uids": "Ids of the posts that say it.",
    "name": "What was measured.",
    "value": "How much.",
}


def metadata(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The corpus in `folder` as JSON-LD. `about`: name, description, digest, licences, creators, languages, span."""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": about["name"],
        "description": about["description"],
        "version": f"1.0.0+{about['digest']}",
        "license": [{"@type": "sc:CreativeWork", "name": grant} for grant in about["licences"]],
        "creator": [{"@type": "sc:Organization", "name": name} for name in about["creators"]],
        "inLanguage": about["languages"],
        "temporalCoverage": about["span"],
        "distribution": [_file(folder / f"{name}.parquet") for name in tables.SCHEMAS],
        "recordSet": [_record_set(name, schema) for name, schema in tables.SCHEMAS.items()],
    }


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": PARQUET,
        "sha256": receipts.sha256_of(path),
    }


def _record_set(name: str, schema: pa.Schema) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": TABLES[name],
        "field": [_field(name, field) for field in schema],
    }


def _field(table: str, field: pa.Field) -> dict[str, Any]:
    """A column. One of lists of structures has a field for each of their parts."""
    many = pa.types.is_list(field.type)
    kind = field.type.value_type if many else field.type
    record = _named(f"{table}/{field.name}", FIELDS[field.name]) | {"repeated": many}
    if not pa.types.is_struct(kind):
        return record | {"dataType": _type(kind), "source": _source(table, field.name)}
    parts = [kind.field(number) for number in range(kind.num_fields)]
    return record | {
        "subField": [
            _named(f"{table}/{field.name}/{part.name}", PARTS[part.name])
            | {"repeated": pa.types.is_list(part.type), "source": _source(table, field.name, f"$[*].{part.name}")}
            | {"dataType": _type(part.type.value_type if pa.types.is_list(part.type) else part.type)}
            for part in parts
        ]
    }


def _named(place: str, description: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": place, "name": place, "description": description}


def _source(table: str, column: str, path: str | None = None) -> dict[str, Any]:
    source = {"fileObject": {"@id": f"{table}.parquet"}, "extract": {"column": column}}
    return source | ({"transform": {"jsonPath": path}} if path else {})


def _type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
