"""Any table: column maps, ids made and given, damage in CSV; and the real tables' counts."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingesting import ingest, posts_of, quarantine_of

from townsquare.errors import ConfigError, InputError
from townsquare.ingest import delimited
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import members
from townsquare.ingest.rows import Origin
from townsquare.ingest.sources import table
from townsquare.square import Square


def rows_of(path: Path, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """What the source makes of one file, without a square."""
    with ExitStack() as open_files:
        [member] = members(path, open_files)
        return list(table.read(member, Origin("s", "0", member.name), IngestConfig(paths=(path,), **settings)))


def posts_from(path: Path, **settings: Any) -> list[dict[str, Any]]:
    found = rows_of(path, **settings)
    assert {kind for kind, _ in found} == {"post"}
    return [row for _, row in found]


def test_csv_by_custom_names(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text(
        "\ufeffDate, Body ,user,Likes,retweets,id,in_reply_to,lang,other\r\n"
        '10/16/17 22:59,"hello, ""you""\nand you",ann,"1,234",,77,76,en,x\r\n',
        encoding="utf-8",
    )
    [row] = posts_from(path, grant="g")
    assert (row["uid"], row["author_id"], row["text"]) == ("table:77", "ann", 'hello, "you"\nand you')
    assert (row["likes"], row["reposts"], row["reply_to"], row["lang"]) == (1234, None, "table:76", "en")
    assert (row["created_at"], row["created_at_precision"]) == (dt.datetime(2017, 10, 16, 22, 59, tzinfo=dt.UTC), "s")
    assert (row["created_at_trust"], row["grant_id"]) == ("client", "g")


def test_a_map_names_columns_and_what_it_names_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("what,when,who\nhello,2024-01-10,ann\n")
    [row] = posts_from(path, column=("text=what", "created_at=when", "author=who"))
    assert (row["text"], row["author_id"], row["created_at_precision"]) == ("hello", "ann", "day")
    with pytest.raises(InputError, match="no column holds the posts' text") as caught:
        rows_of(path)
    assert "--column text=what" in str(caught.value)
    assert "posts.csv" in str(caught.value.place)
    with pytest.raises(InputError, match="the column of author=whom is not there"):
        rows_of(path, column=("text=what", "author=whom"))
    with pytest.raises(InputError, match="there is no field 'body'") as caught:
        rows_of(path, column=("body=what",))
    assert "text" in str(caught.value.remedy)
    with pytest.raises(ConfigError, match="column cannot be 'text'"):
        IngestConfig(paths=(path,), column=("text",))


def test_jsonl_and_tsv_and_parquet_say_the_same(tmp_path: Path) -> None:
    records = [{"id": i, "text": f"post {i} é", "author": "ann", "likes": i or None} for i in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    lines = ["id\ttext\tauthor\tlikes", *("\t".join(str("" if v is None else v) for v in r.values()) for r in records)]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    said = [
        [(p["uid"], p["text"], p["author_id"], p["likes"]) for p in posts_from(tmp_path / f"a.{ending}")]
        for ending in ("jsonl", "parquet", "tsv")
    ]
    assert said == [[(f"table:{i}", f"post {i} é", "ann", i or None) for i in range(3)]] * 3


def test_parquet_of_every_kind_of_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    nanoseconds = pa.array([1704888000000000001, None], pa.timestamp("ns", "UTC"))
    columns = {
        "id": pa.array([2**63 + 1, 2**64 - 1], pa.uint64()),
        "text": ["one", "two"],
        "created_at": nanoseconds,
        "likes": pa.array([5.0, float("nan")]),
        "author": pa.array([12345678901234567890, None], pa.uint64()),
    }
    pq.write_table(pa.table(columns), path)
    one, two = posts_from(path)
    assert (one["uid"], two["uid"]) == (f"table:{2**63 + 1}", f"table:{2**64 - 1}")
    assert one["created_at"] == dt.datetime(2024, 1, 10, 12, tzinfo=dt.UTC)
    assert (one["likes"], two["likes"], one["author_id"], two["author_id"]) == (5, None, "12345678901234567890", None)


@pytest.mark.parametrize("number", ["1.62692E+18", "1.626922779105759235e18", "1E+5"])
def test_ids_that_a_spreadsheet_rounded_are_quarantined(tmp_path: Path, number: str) -> None:
    (tmp_path / "a.csv").write_text(f"id,text\n{number},hello\n")
    (tmp_path / "a.jsonl").write_text(f'{{"id": {number}, "text": "hello"}}\n')
    pq.write_table(pa.table({"id": [float(number)], "text": ["hello"]}), tmp_path / "a.parquet")
    for ending in ("csv", "jsonl", "parquet"):
        [(kind, row)] = rows_of(tmp_path / f"a.{ending}")
        assert (kind, row["reason"]) == ("quarantine", "strange_id")


def test_rows_without_ids_are_told_apart_and_found_again(tmp_path: Path) -> None:
    (tmp_path / "ann.csv").write_text("Datetime,Text\n2024-01-10,hi\n2024-01-10,hi\n2024-01-11,hi\n")
    rows = posts_from(tmp_path / "ann.csv", author_from="file")
    assert {row["author_id"] for row in rows} == {"ann"}
    assert len({row["uid"] for row in rows}) == 3
    (tmp_path / "ann.csv").write_text("Datetime,Text\n2024-01-11,hi\n2024-01-10,hi\n2024-01-10,hi\n")
    assert {row["uid"] for row in posts_from(tmp_path / "ann.csv", author_from="file")} == {row["uid"] for row in rows}


def test_a_table_of_x_takes_ids_from_links_and_reposts_from_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "text,url\nhello,https://twitter.com/ann/status/920061541986250758\nRT @bob: hi,\nhey,https://e.org/status/5\n"
    )
    one, two, three = posts_from(path, network="x")
    assert (one["uid"], two["repost_of_author"]) == ("x:920061541986250758", "bob")
    assert three["uid"].startswith("x:")
    assert len(three["uid"]) == 34
    assert not posts_from(path)[0]["uid"].endswith("920061541986250758")  # only X's links hold X's ids


def test_rows_that_do_not_fit_are_quarantined_with_what_they_held(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,good\n2\n3,too,many\n4,\n5,"  "\n\n6,also good\n')
    found = [(kind, row.get("uid") or (row["reason"], row["source_locator"])) for kind, row in rows_of(path)]
    assert found == [
        ("post", "table:1"),
        ("quarantine", ("broken_row", "a.csv:3")),
        ("quarantine", ("broken_row", "a.csv:4")),
        ("quarantine", ("no_text", "a.csv:5")),
        ("quarantine", ("no_text", "a.csv:6")),
        ("post", "table:6"),
    ]


def test_jsonl_rows_need_not_have_the_same_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two", "likes": 5, "user": "ann"}\n[]\n{"body": "three"}\n{"x": 1}\n')
    kinds = [(kind, row.get("text"), row.get("likes"), row.get("reason")) for kind, row in rows_of(path)]
    assert kinds == [
        ("post", "one", None, None),
        ("post", "two", 5, None),
        ("quarantine", None, None, "broken_row"),
        ("post", "three", None, None),
        ("quarantine", None, None, "no_text"),
    ]


CELL = st.text(st.sampled_from('ab,"\n\r é'), max_size=6)


@given(st.lists(st.lists(CELL, min_size=2, max_size=3), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
def test_sound_csv_reads_as_the_standard_library_reads_it(rows: list[list[str]], line_end: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=line_end).writerows(rows)
    text = out.getvalue()
    expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert [cells for _, cells, _ in delimited.rows(io.BytesIO(text.encode()), ",")] == expected


def test_an_open_quote_costs_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,one\n2,"open\n3,three\n4,"closed"\n5,five\n')
    found = [(kind, row.get("uid"), row.get("raw")) for kind, row in rows_of(path)]
    assert found == [
        ("post", "table:1", None),
        ("quarantine", None, '2,"open'),
        ("post", "table:3", None),
        ("post", "table:4", None),
        ("post", "table:5", None),
    ]


def test_a_quote_inside_a_cell_is_taken_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,the "one"\n2,"two" and more\n3,three"\n')
    assert [row["text"] for row in posts_from(path)] == ['the "one"', "two and more", 'three"']


def test_a_half_written_last_row_with_an_open_quote_is_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,one\n2,"two and the disk was fu')
    assert [(kind, row.get("raw")) for kind, row in rows_of(path)] == [
        ("post", None),
        ("quarantine", '2,"two and the disk was fu'),
    ]


def test_a_file_of_open_quotes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MOST_READ_AGAIN", 1000)
    hostile = b'"""\n' * 2000
    found = list(delimited.rows(io.BytesIO(hostile), ","))
    assert found
    assert "".join(raw + "\n" for _, _, raw in found).count('"""') == 2000


def test_one_table_among_many_that_does_not_fit_stops_no_other(square: Square, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "ann.csv").write_text("Datetime,Text\n2024-01-10,hi\n")
    (folder / "bob.csv").write_text("Datetime,Words\n2024-01-10,hi\n")
    receipt = ingest(square, folder, format="table", author_from="file")
    assert receipt.counts["quarantined"] == {"unfit_file": 1}
    assert receipt.counts["kept"] == 1
    assert "no column holds" in quarantine_of(square)[0]["detail"]


def test_files_of_the_same_name_are_told_apart(square: Square, tmp_path: Path) -> None:
    for folder, text in (("a", "one"), ("b", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "posts.csv").write_text(f"id,text\n{text},{text}\nbroken\n")
    receipt = ingest(square, tmp_path / "a" / "posts.csv", tmp_path / "b" / "posts.csv")
    assert receipt.counts == {"seen": 4, "kept": 2, "events": 0, "quarantined": {"broken_row": 2}}
    assert len(receipt.results["files"]) == 2
    assert len({row["source_locator"] for row in quarantine_of(square)}) == 2


def test_presidents_counts(square: Square, shared_data: Path) -> None:
    folder = shared_data / "presidents"
    receipt = ingest(square, folder)
    expected = []
    for file in folder.iterdir():
        with file.open(encoding="utf-8", errors="replace", newline="") as stream:  # one file is in no known encoding
            for row in csv.DictReader(stream):
                expected.append((row["user"], row["text"], int(row["favorites"])))
    assert receipt.counts["kept"] == 3207 + 3232
    found = [(row["author_id"], row["text_raw"], row["likes"]) for row in posts_of(square).values()]
    assert sorted(found) == sorted(expected)


def _senators(path: Path, wanted: int) -> dict[str, int]:
    """Rows by author in the tar, counted with the standard library."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name.endswith(".csv") and len(found) < wanted:
                stream = io.TextIOWrapper(archive.extractfile(member), encoding="utf-8-sig", newline="")  # type: ignore[arg-type]
                found[Path(member.name).stem] = sum(1 for row in csv.DictReader(stream) if row["Text"].strip())
    return found


@pytest.mark.slow
def test_senators_counts(square: Square, shared_data: Path) -> None:
    path = shared_data / "senators" / "senate117.tar.gz"
    receipt = ingest(square, path, author_from="file")
    assert (receipt.counts["kept"], receipt.counts["quarantined"]) == (196186, {"unknown_format": 2})
    authors = [row["author_id"] for row in posts_of(square).values()]
    assert {author: authors.count(author) for author in set(authors)} == {
        author: rows for author, rows in _senators(path, 100).items() if rows
    }


def test_some_senators_from_a_tar_of_tables(square: Square, shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "few.tar.gz"
    with tarfile.open(shared_data / "senators" / "senate117.tar.gz") as whole, tarfile.open(path, "w:gz") as few:
        names = sorted((m for m in whole if m.name.endswith(".csv")), key=lambda m: m.size)[:6]
        for member in names:
            few.addfile(member, whole.extractfile(member))
    receipt = ingest(square, path, author_from="file")
    counts = _senators(path, 6)
    assert receipt.counts == {
        "seen": sum(counts.values()),
        "kept": sum(counts.values()),
        "events": 0,
        "quarantined": {},
    }
    assert {file: said["kept"] for file, said in receipt.results["files"].items()} == {
        f"Data/{author}.csv": n for author, n in counts.items()
    }


def test_a_parquet_cell_that_is_no_utf_8_stops_no_other(square: Square, tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9 ole", b"plain"], pa.binary()).buffers())
    path = tmp_path / "posts.parquet"
    pq.write_table(pa.table({"id": ["1", "2"], "text": texts}), path)
    ingest(square, path)
    assert [row["text"] for row in posts_of(square).values()] == ["caf\ufffd ole", "plain"]
