"""Documents of odd shapes for property tests: whatever JSON can hold, in the place of what is expected."""

from __future__ import annotations

import copy

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**70),
    st.floats(),
    st.sampled_from(["", " ", "a\nb", "\x1b[2J", "../x", "a\0b", "\ud800", "é" * 400, "-1", "command", "url"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner)),
    max_leaves=5,
)


def _places(document: object, way: tuple = ()) -> list[tuple]:
    """The way to every value in a document, the document itself first."""
    children = {
        dict: lambda: document.items(),
        list: lambda: enumerate(document),
    }.get(type(document), lambda: ())()
    return [way, *(place for key, child in children for place in _places(child, (*way, key)))]


@st.composite
def mutated(draw: st.DrawFn, document: object, most: int = 3) -> object:
    """``document`` with one to ``most`` of its values replaced or removed."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        way = draw(st.sampled_from(_places(document)))
        if not way:
            return draw(VALUES)
        *start, last = way
        owner = document
        for key in start:
            owner = owner[key]
        if draw(st.booleans()):
            owner[last] = draw(VALUES)
        else:
            del owner[last]
    return document
