"""What users write as JSON and YAML: read in the shape that was asked for, or refused with the file's name."""

from __future__ import annotations

import pytest

from speechprune.common.reading import read_json, read_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[1, 2]", "holds [1, 2], expected a mapping"),
        ("null", "holds None, expected a mapping"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (b"\xff{}", "is not JSON: 'utf-8' codec"),
    ],
)
def test_json_of_another_shape_is_named(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as raised:
        read_json(path, way_out="make it again")
    assert str(raised.value).startswith(f"{path} {message}")
    assert str(raised.value).endswith("; make it again")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not YAML"),
        ("- 1", "holds [1], expected a mapping"),
        ("a: 1\nb: 2\na: 3", "is not YAML: line 3: the key 'a' stands twice; remove one"),
        ("x: {a: 1, a: 1}", "is not YAML: line 1: the key 'a' stands twice; remove one"),
        (BOMB, "is not YAML: line 2: alias *a0; write the value out"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("? [1, 2]\n: 3", "is not YAML"),
    ],
)
def test_yaml_that_is_doubled_dangerous_or_of_another_shape_is_refused(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as raised:
        read_yaml(path)
    assert str(raised.value).startswith(f"{path} {message}")


def test_what_is_well_formed_is_read(tmp_path):
    (tmp_path / "x.json").write_text('["\\u00e9"]')
    (tmp_path / "x.yaml").write_text("a: {b: [1, 2.5, yes]}\nc: &d text\n")
    assert read_json(tmp_path / "x.json", list) == ["é"]
    assert read_yaml(tmp_path / "x.yaml") == {"a": {"b": [1, 2.5, True]}, "c": "text"}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*none\.json"):
        read_json(tmp_path / "none.json")
