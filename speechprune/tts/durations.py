"""When each word is said, from the durations that a synthesiser of the FastPitch and StyleTTS family predicts itself.

Such a model stretches each phoneme over a whole number of frames before it makes sound of them, so its durations are
exact. An ONNX export need not have them among its outputs; they are in its graph nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from speechprune.tts.base import Word

OUTPUT = "duration"  # as kokoro-onnx asks for it


def expose(model: Path, out: Path) -> bool:
    """Write the ONNX file ``model`` as ``out`` with one output more, the frames (tokens,) of each token.

    They are found as StyleTTS 2 computes them: ``clamp(round(..), min=1)``.

    Returns:
        whether the graph has them, and has them once; otherwise ``out`` is not written.
    """
    import onnx

    graph = (loaded := onnx.load(str(model))).graph
    rounded = {name for node in graph.node if node.op_type == "Round" for name in node.output}
    found = [node.output[0] for node in graph.node if node.op_type == "Clip" and node.input[0] in rounded]
    if len(found) != 1 or any(output.name == OUTPUT for output in graph.output):
        return False
    graph.node.append(onnx.helper.make_node("Cast", found, [OUTPUT], to=onnx.TensorProto.FLOAT))
    graph.output.append(onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, None))
    onnx.save(loaded, str(out))
    return True


def word_times(
    words: Sequence[str], phonemes: Sequence[tuple[str, float, float]], pronounce: Callable[[str], str]
) -> tuple[Word, ...]:
    """Times of words from those of the phonemes that were spoken.

    A sentence's phonemes are not its words' in a row: a phonemiser reads "for the" as "fɚðə" and "25" as two words. So
    the row of what each word is alone is aligned with what was spoken, by the fewest changes (Levenshtein).

    Args:
        words: as written.
        phonemes: (symbol, start, end in seconds) of everything that was spoken, marks and spaces too, in order.
        pronounce: phonemes of a word alone.
    Returns:
        every word; one of which nothing is heard has no length.
    """
    from rapidfuzz.distance import Levenshtein

    alone, begins = "", []
    for word in words:
        begins.append(len(alone))
        alone += "".join(pronounce(word).split())
    # Without spaces: "for a" is spoken as one, and a space would be taken for the "a".
    sounds = [phoneme for phoneme in phonemes if not phoneme[0].isspace()]
    edits = Levenshtein.opcodes(alone, "".join(symbol for symbol, *_ in sounds))
    places = [_place(edits, begin) for begin in begins] + [len(sounds)]
    found: list[Word] = []
    for word, left, right in zip(words, places, places[1:], strict=False):
        heard = [(start, end) for symbol, start, end in sounds[left:right] if symbol.isalpha()]
        now = found[-1].end if found else 0.0
        start, end = (heard[0][0], heard[-1][1]) if heard else (now, now)
        found.append(Word(word, start, end))
    return tuple(found)


def _place(edits, index: int) -> int:
    """Where the symbol ``index`` of the first text stands in the second."""
    for edit in edits:
        if index < edit.src_end:
            return min(edit.dest_end, edit.dest_start + index - edit.src_start)
    return edits[-1].dest_end if edits else 0
