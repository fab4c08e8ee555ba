import pytest

from embedkit.core.document import parse
from embedkit.core.errors import RecipeError

TEXT = """\
name: x
stages:
  a:
    kind: data
    list: [1, {deep: 2}]
  b: {kind: mine}
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("name",), 1),
        (("stages", "a"), 3),
        (("stages", "a", "list", 1, "deep"), 5),
        (("stages", "b", "kind"), 6),
        (("stages", "b", "absent"), 6),
    ],
)
def test_every_part_knows_its_line(where, line):
    assert parse(TEXT, "r.yaml").where(where).text == f"r.yaml:{line}"


def test_settings_replace_values_and_their_place_is_the_option():
    document = parse(TEXT, "r.yaml")
    document.set(("stages", "a", "list", 0), 7, "--set a.list.0=7")
    document.set(("stages", "b", "new", "inner"), True, "--set b.new.inner=true")
    assert document.value["stages"]["a"]["list"][0] == 7
    assert document.value["stages"]["b"]["new"] == {"inner": True}
    assert document.where(("stages", "a", "list", 0)).text == "--set a.list.0=7"


def test_a_setting_beyond_a_list_is_refused():
    with pytest.raises(RecipeError, match=r"--set x: 5 is not one of the 2 entries"):
        parse(TEXT, "r.yaml").set(("stages", "a", "list", 5), 1, "--set x")


@pytest.mark.parametrize("text", ["a: [1", "a: !!python/object/apply:os.system ['true']", "a: {b: 1}: 2", "\tx: 1"])
def test_what_is_not_plain_yaml_is_one_line_with_its_place(text):
    with pytest.raises(RecipeError, match=r"^r\.yaml:1: not YAML: ") as error:
        parse(text, "r.yaml")
    assert len(error.value.problems) == 1


def test_a_key_that_stands_twice_is_a_problem():
    document = parse("a: 1\nb: 2\na: 3\n", "r.yaml")
    assert [str(p) for p in document.problems] == ["a: this key stands twice (lines 1 and 3)"]


def test_aliases_that_blow_up_are_refused():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 7)
    )
    with pytest.raises(RecipeError, match="entries once its aliases are written out"):
        parse(bomb, "r.yaml")


def test_an_alias_that_contains_itself_is_a_problem():
    assert "contains itself" in str(parse("a: &a [*a]", "r.yaml").problems[0])


def test_merge_keys_may_be_overridden():
    document = parse("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n", "r.yaml")
    assert document.value["b"] == {"x": 1, "y": 3}
    assert document.problems == []
    assert document.where(("b", "y")).text == "r.yaml:4"


def test_what_is_put_in_from_another_file_keeps_its_places_until_it_is_set_anew():
    document, other = parse("a: 1\n", "a.yaml"), parse("x:\n  y:\n    - 5\n    - 6\n", "b.yaml")
    document.graft(("b", "c"), {"y": [5, 6], "z": 1}, other, ("x",))
    assert document.value == {"a": 1, "b": {"c": {"y": [5, 6], "z": 1}}}
    assert document.where(("b", "c", "y", 1)).text == "b.yaml:4"
    assert document.where(("b", "c", "z")).text == "b.yaml:1"
    document.set(("b", "c", "y"), [7, 8], "--set b.c.y=[7, 8]")
    assert document.where(("b", "c", "y", 1)).text == "--set b.c.y=[7, 8]"
    assert document.where(("b", "c", "z")).text == "b.yaml:1"


def test_what_is_set_has_no_lines_of_what_stood_there():
    document = parse("a:\n  b: 1\n", "a.yaml")
    document.set(("a",), {"b": 2}, "--set a={b: 2}")
    assert document.where(("a", "b")).text == "--set a={b: 2}"
