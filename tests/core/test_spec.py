from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from embedkit.core.spec import Execution, External, LocalPath, ModelRef, Reference, Spec, digest, identity, marked


class Inner(Spec):
    kind: Literal["inner"] = "inner"
    guide: ModelRef | None = None
    weight: float = 1.0
    chunk: Annotated[int, Execution()] = 8


class Other(Spec):
    kind: Literal["other"] = "other"


class Outer(Spec):
    model: ModelRef
    many: tuple[ModelRef, ...] = ()
    inner: Annotated[Inner | Other, Field(discriminator="kind")] = Inner()
    inners: tuple[Inner, ...] = ()
    named: dict[str, ModelRef] = Field(default_factory=dict)
    file: LocalPath | None = None
    workers: Annotated[int, Execution()] = 1


def test_references_are_found_wherever_they_are():
    spec = Outer(
        model="a", many=("b", "c"), inner=Inner(guide="d"), inners=(Inner(), Inner(guide="e")), named={"x": "f"}
    )
    found = {".".join(map(str, where)): name for where, name, _ in marked(spec, Reference)}
    assert found == {
        "model": "a",
        "many.0": "b",
        "many.1": "c",
        "inner.guide": "d",
        "inners.1.guide": "e",
        "named.x": "f",
    }


def test_the_identity_has_keys_for_references_digests_for_paths_and_no_execution_fields(tmp_path):
    spec = Outer(model="a", inner=Inner(guide="b"), file=tmp_path / "x")
    got = identity(spec, keys={"a": "KA", "b": "KB"}, digests={tmp_path / "x": "DX"})
    assert got["model"] == {"key": "KA"}
    assert got["inner"] == {"kind": "inner", "guide": {"key": "KB"}, "weight": 1.0}
    assert got["file"] == {"sha256": "DX"}
    assert "workers" not in got


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"workers": 9}, True),
        ({"inner": Inner(chunk=99)}, True),
        ({"inner": Inner(weight=2)}, False),
        ({"inner": Other()}, False),
    ],
)
def test_only_what_changes_the_result_changes_the_digest(change, same):
    def of(spec):
        return digest(identity(spec, keys={"a": "KA"}, digests={}))

    assert (of(Outer(model="a")) == of(Outer(model="a", **change))) is same


def test_paths_are_relative_to_the_recipe(tmp_path):
    spec = Outer.model_validate({"model": "a", "file": "data/x.jsonl"}, context={"folder": tmp_path})
    assert [path for _, path, _ in marked(spec, External)] == [Path(tmp_path, "data/x.jsonl")]


def test_digests_do_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
