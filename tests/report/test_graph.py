from itertools import combinations

from embedkit.report.graph import GAP_X, HEIGHT, WIDTH, draw


def test_what_was_made_stands_right_of_what_it_was_made_from(lineage):
    inputs = {node.key: list(node.inputs.values()) for node in lineage}
    drawing = draw(inputs)
    assert drawing.boxes.keys() == inputs.keys()
    for node, sources in inputs.items():
        for source in sources:
            assert drawing.boxes[source][0] + WIDTH + GAP_X <= drawing.boxes[node][0]


def test_boxes_do_not_overlap_and_lie_inside(lineage):
    drawing = draw({node.key: list(node.inputs.values()) for node in lineage})
    for (x, y), (u, v) in combinations(drawing.boxes.values(), 2):
        assert abs(x - u) >= WIDTH or abs(y - v) >= HEIGHT
    assert all(0 <= x <= drawing.width - WIDTH for x, _ in drawing.boxes.values())
    assert all(0 <= y <= drawing.height - HEIGHT for _, y in drawing.boxes.values())


def test_an_arrow_that_a_longer_way_says_already_is_left_out():
    assert len(draw({"a": [], "b": ["a"], "c": ["a", "b"]}).arrows) == 2


def test_a_long_arrow_keeps_clear_of_the_boxes_between():
    drawing = draw({"a": [], "x": [], "b": ["a"], "c": ["b"], "d": ["c", "x"]})
    boxes = sorted(drawing.boxes.values())
    assert len(drawing.arrows) == 4
    assert len(set(boxes)) == 5
    assert drawing.height > HEIGHT  # the way of x -> d has a row of its own


def test_one_artifact_alone():
    drawing = draw({"a": []})
    assert (drawing.boxes, list(drawing.arrows), drawing.width, drawing.height) == ({"a": (0, 0)}, [], WIDTH, HEIGHT)
