"""JSON of any shape, and a valid document with any part of it replaced: what a damaged file may hold."""

from __future__ import annotations

import copy

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

PATIENT = settings(deadline=None, max_examples=60, suppress_health_check=[*HealthCheck])  # the machine may be shared

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The paths to all parts of a JSON value, itself included."""
    found = [path]
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        found += places(part, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, document: object) -> object:
    """``document`` with one part replaced by JSON of any shape, or left out."""
    path = draw(st.sampled_from(places(document)))
    if not path:
        return draw(JSON)
    document = copy.deepcopy(document)
    owner = document
    for key in path[:-1]:
        owner = owner[key]
    if draw(st.booleans()):
        owner[path[-1]] = draw(JSON)
    else:
        del owner[path[-1]]
    return document
