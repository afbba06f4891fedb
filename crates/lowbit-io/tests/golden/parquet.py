"""Small files of columns for tests/parquet.rs, in tests/golden/parquet: the same five rows in the ways that writers have.

Needs pyarrow. Run in this folder.
"""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = ["one", "", "zwei, drüben", "three\nlines\nlong", "one"] * 20
FOLDER = pathlib.Path(__file__).parent / "parquet"
FOLDER.mkdir(exist_ok=True)


def write(name, table, **options):
    pq.write_table(table, FOLDER / f"{name}.parquet", **options)


table = pa.table({"id": list(range(len(TEXTS))), "text": TEXTS, "meta": [{"title": text.upper()} for text in TEXTS]})
required = pa.table(
    [pa.array(TEXTS)], schema=pa.schema([pa.field("text", pa.string(), nullable=False)])
)
write("snappy", table, compression="snappy")
write("gzip", table, compression="gzip")
write("plain", table, compression="none", use_dictionary=False)
write("pages_v2", table, compression="snappy", data_page_version="2.0")
write("row_groups", table, compression="snappy", row_group_size=30)
write("many_pages", table, compression="snappy", data_page_size=64, use_dictionary=False)
write("delta", required, compression="none", use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})
write("required", required, compression="snappy")
# Rows of a task, as the hub's branch of columns has them; for the program's tests too.
rows = [{"goal": f"goal {i}", "sol1": "one", "sol2": "the other", "label": i % 2} for i in range(12)]
write("piqa", pa.Table.from_pylist(rows), compression="snappy")
# What is refused.
write("zstd", table, compression="zstd")
write("null", pa.table({"text": ["one", None, "two"]}))
write("empty", pa.table({"text": pa.array([], pa.string())}))
write("lists", pa.table({"text": [["one", "two"], ["three"]]}))
write("numbers", pa.table({"text": [1, 2, 3]}))
write("not_utf8", pa.table({"text": pa.array([b"one", b"\xff"], pa.binary())}))
