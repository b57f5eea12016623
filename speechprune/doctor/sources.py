"""Where the model and the corpora come from: folders here, or a hub that answers and gives."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from speechprune.common.rooms import room
from speechprune.costs.outline import REFERENCES, Outline, outline, reference
from speechprune.costs.published_configs import PARTS
from speechprune.data.corpora import corpora
from speechprune.doctor.findings import Finding, within
from speechprune.models import SpeechLLM
from speechprune.models.families import family_of
from speechprune.models.folder import ModelFolder
from speechprune.models.hub import is_path
from speechprune.models.loading import check_stored

SECONDS = 10.0  # that a hub is given to answer
PAGE = "https://huggingface.co"
_WEIGHTS = ["config.json", "*.safetensors", "model.safetensors.index.json"]


def model_found(model: str, about: Outline | str) -> list[Finding]:
    """The model, and each that its config.json names: whether it is here, or the hub gives it, and is served.

    Args:
        about: as ``known`` has it.
    """
    if model == "mini":
        return [Finding("model", "ok", "mini: ships with this package")]
    if not is_hub_name(model):
        return _folder(model, about)
    found = [_hub(name) for name in (model, *PARTS.get(model, ()))]
    return [*found, *_refused(model)] if found[0].status == "ok" else found


def is_hub_name(model: str) -> bool:
    """Whether it is to be fetched from the hub."""
    return model != "mini" and not Path(model).expanduser().exists() and not is_path(model)


def known(model: str) -> Outline | str:
    """What config.json says of a model, or why nothing is known of it."""
    try:
        return within(SECONDS, lambda: outline(model))
    except (OSError, ValueError) as error:
        return str(error)


def _folder(model: str, about: Outline | str) -> list[Finding]:
    """A model folder of the user's: all that ``SpeechLLM.from_pretrained`` refuses before it reads weights."""
    try:
        folder = ModelFolder.open(model)
        family = family_of(SpeechLLM, folder)
        folder.require(family.needs(folder))
        parts = [reference(folder, key) for key in REFERENCES if folder.config.get(key)]
        if not parts:
            folder.auto_config()
            if isinstance(about, Outline):
                check_stored(folder, about.parameters)
    except (OSError, ValueError) as error:
        return [Finding("model", "missing", str(error), "copy the whole folder, or give another")]
    found = Finding("model", "ok", f"{model}: a folder here, {folder.model_type}")
    return [found, *(_hub(part) if is_hub_name(part) else _part(part) for part in parts)]


def _part(name: str) -> Finding:
    """A folder that another names."""
    try:
        folder = ModelFolder.open(name)
    except (OSError, ValueError) as error:
        return Finding("model", "missing", str(error), "copy the whole folder, or name another in config.json")
    return Finding("model", "ok", f"{name}: a folder here, {folder.model_type}")


def _refused(name: str) -> list[Finding]:
    """Why a model of the hub's is not served; nothing where it is, or where its config.json cannot be had."""
    try:
        family_of(SpeechLLM, within(SECONDS, lambda: ModelFolder.open(name, weights=False)))
    except OSError:
        return []
    except ValueError as error:
        return [Finding("model", "missing", str(error), "docs/models.md has the families that are served")]
    return []


def _hub(name: str) -> Finding:
    if _is_cached(name):
        return Finding("model", "ok", f"{name}: fetched already")
    try:
        info = within(SECONDS, lambda: huggingface_hub.HfApi().model_info(name, timeout=SECONDS))
        within(SECONDS, lambda: huggingface_hub.HfApi().auth_check(name))
    except GatedRepoError:
        do = f"accept the licence at {PAGE}/{name} and type: hf auth login"
        return Finding("model", "missing", f"{name}: gated, and not open to you", do)
    except RepositoryNotFoundError:
        do = "check the name; a private model needs: hf auth login"
        return Finding("model", "missing", f"{name}: the hub has no such model, or hides it from you", do)
    except Exception as error:  # of whichever client the hub's library brings
        reason = " ".join(str(error).split()) or type(error).__name__
        do = f"where there is a net: hf download {name}; then copy the folder here and give it as --model"
        return Finding("model", "missing", f"{name}: not here, and the hub cannot be reached ({reason:.100})", do)
    licence = getattr(info.card_data, "license", None) or "none named"
    gate = "gated, open to you" if info.gated else "no gate"
    return Finding("model", "ok", f"{name}: the hub gives it; {gate}, licence: {licence}")


def _is_cached(name: str) -> bool:
    """Whether configuration and weights were fetched before."""
    try:
        path = Path(huggingface_hub.snapshot_download(name, allow_patterns=_WEIGHTS, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return False
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def corpora_found(folder: Path) -> list[Finding]:
    """Each corpus: prepared, downloaded, or how to get it; in ``folder`` and in the recipes' own folders."""
    return [_corpus(name, [folder, room("egs") / name]) for name in corpora()]


def _corpus(name: str, folders: list[Path]) -> Finding:
    about = f"corpus {name}"
    mine = [folder for folder in folders if _is_about(folder, name)]
    for folder in mine:
        if sets := sorted(path.parent.name for path in folder.glob("data/*/cuts.jsonl.gz")):
            return Finding(about, "ok", f"prepared in {folder}: {', '.join(sets)}")
    for folder in folders:
        raw = folder / "downloads" / name
        if raw.is_dir() and any(raw.iterdir()):
            return Finding(about, "note", f"in {raw}, not prepared", f"egs/{name}/run.sh --stage 1 --stop-stage 1")
    doc = (corpora()[name].__doc__ or "").strip().splitlines()
    do = f"egs/{name}/run.sh --stage 0 --stop-stage 1 fetches what it can and says what it cannot; --corpus-dir: yours"
    return Finding(about, "note", f"not here ({doc[0].rstrip('.') if doc else name})", do)


def _is_about(folder: Path, name: str) -> bool:
    """Whether prepared sets in a recipe's folder are this corpus'."""
    script = folder / "run.sh"
    return script.is_file() and f"--corpus {name}" in script.read_text(encoding="utf-8", errors="replace")
