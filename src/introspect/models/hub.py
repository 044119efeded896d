"""Files of a model on the Hugging Face hub, pinned to a commit: small ones first, then only its safetensors.

Everything after the download reads the local snapshot, so being offline changes nothing but where files may come from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelError
from .boundary import first_line
from .digests import INDEX, SINGLE, weight_names

SMALL = ["config.json", "generation_config.json", INDEX, "*.jinja", "merges.txt", "vocab.*", "*.model"]
TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]


def find_snapshot(name: str, revision: str | None, *, offline: bool) -> Path:
    """The local folder of the model at that revision, holding `config.json`. Its name is the commit hash.

    Raises:
        ModelError: no such model or revision, no access, or nothing local and the hub out of reach.
    """
    from huggingface_hub import hf_hub_download

    with _hub_errors(name, revision, offline=offline):
        return Path(hf_hub_download(name, "config.json", revision=revision, local_files_only=offline)).parent


def fill_snapshot(name: str, snapshot: Path, *, offline: bool) -> None:
    """Fetch what loading needs besides `config.json` and is not in the snapshot yet: tokenizer, index, weights.

    Raises:
        ModelError: the model has no safetensors, or a file cannot be had.
    """
    from huggingface_hub import snapshot_download

    def fetch(patterns: list[str]) -> None:
        with _hub_errors(name, snapshot.name, offline=offline):
            snapshot_download(
                name,
                revision=snapshot.name,
                allow_patterns=patterns,
                ignore_patterns=["*/*"],
                local_files_only=offline,
            )

    if not offline:
        fetch([*SMALL, *TOKENIZER])
    if not (snapshot / INDEX).exists():
        if not (snapshot / SINGLE).exists() and not offline:
            fetch([SINGLE])
        if not (snapshot / SINGLE).exists():
            raise ModelError(
                f"{name} has no safetensors weights{' in the local cache' if offline else ''}: "
                + ("run once without --offline" if offline else "choose a model that has them")
            )
    elif not offline:
        fetch(weight_names(snapshot))


@contextlib.contextmanager
def _hub_errors(name: str, revision: str | None, *, offline: bool) -> Iterator[None]:
    from huggingface_hub import errors

    at = f" at revision {revision}" if revision else ""
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(f"{name} asks for its licence: accept it on huggingface.co, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"there is no model {name!r} on the hub, or it is private: check the name") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision!r}: give a branch, tag or commit of it") from error
    except errors.LocalEntryNotFoundError as error:
        why = "and the hub is not asked (offline)" if offline else "and the hub cannot be reached"
        raise ModelError(
            f"{name}{at} is not on this machine {why}: download it once with a network, "
            "or use smollm2-135m, a local folder or a .gguf file"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(f"{name}{at} has no config.json, so it is no transformers model: choose another") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{name}{at} cannot be fetched from the hub: {first_line(error)}; try again later") from error
