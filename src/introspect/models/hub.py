"""Files of a model on the Hugging Face hub, pinned to a commit: small ones first, then only its safetensors.

Everything after the download reads the local snapshot. Offline, the client is not called at all: even for files in its
cache it may ask the hub for other things (huggingface_hub 2.4 does).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelError
from .boundary import first_line
from .digests import INDEX, SINGLE, weight_names

SMALL = [
    *("config.json", "generation_config.json", INDEX),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "*.jinja"),
    *("merges.txt", "vocab.*", "*.model"),
]
"""What loading reads besides weights. No Python, and no adapter that transformers would add unasked."""

HUB_TIMEOUT = 15.0
"""Seconds to wait for the hub to answer before its cache is used."""


class HubUnreachableError(ModelError):
    """The hub does not answer; its local cache may still have what is wanted."""


def find_snapshot(name: str, revision: str | None, *, offline: bool) -> Path:
    """The local folder of the model at that revision, holding `config.json`. Its name is the commit hash.

    Raises:
        ModelError: no such model or revision, no access, or nothing local and the hub out of reach.
    """
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    unreachable = HubUnreachableError(_missing(name, revision, "the hub is not asked (offline)"))
    if not offline:
        try:
            with _hub_errors(name, revision):
                HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT)  # downloads retry for half a minute
                return Path(hf_hub_download(name, "config.json", revision=revision)).parent
        except HubUnreachableError as error:
            unreachable = error
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached).parent
    raise unreachable


def fill_snapshot(name: str, snapshot: Path, *, offline: bool, weights: bool = True) -> None:
    """Fetch what loading needs besides `config.json` and is not in the snapshot yet: tokenizer, index, weights.

    Args:
        weights: False for a model that runs elsewhere.

    Raises:
        ModelError: the model has no safetensors, or a file cannot be had.
    """
    from huggingface_hub import snapshot_download

    def fetch(patterns: list[str]) -> None:
        with _hub_errors(name, snapshot.name):
            snapshot_download(name, revision=snapshot.name, allow_patterns=patterns, ignore_patterns=["*/*"])

    if not offline:
        fetch(SMALL)
    if not weights:
        return
    if not offline:
        fetch(weight_names(snapshot) if (snapshot / INDEX).exists() else [SINGLE])
    if not (snapshot / INDEX).exists() and not (snapshot / SINGLE).exists():
        raise ModelError(
            f"{name} has no safetensors weights{' in the local cache' if offline else ''}: "
            + ("run once without --offline" if offline else "choose a model that has them")
        )


def _missing(name: str, revision: str | None, why: str) -> str:
    at = f" at revision {revision}" if revision else ""
    return (
        f"{name}{at} is not on this machine and {why}: "
        "download it once with a network, or use smollm2-135m, a local folder or a .gguf file"
    )


@contextlib.contextmanager
def _hub_errors(name: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(f"{name} asks for its licence: accept it on huggingface.co, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"there is no model {name!r} on the hub, or it is private: check the name") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision!r}: give a branch, tag or commit of it") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, TimeoutError) as error:
        raise HubUnreachableError(_missing(name, revision, "the hub cannot be reached")) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(f"{name} has no config.json, so it is no transformers model: choose another") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # of whichever HTTP library the client uses
        why = f"the hub cannot be reached ({first_line(error)})"
        raise HubUnreachableError(_missing(name, revision, why)) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} cannot be fetched from the hub ({first_line(error)}); try again later") from error
