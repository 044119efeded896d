"""A repository of the Hugging Face hub as a place: `hf://user/name`, `hf://datasets/user/name`, `hf://models/user/name`.

A run is pushed as a dataset and a probe as a model, unless the address says otherwise; a bare address is looked for
among datasets first when it is pulled, and `@revision` at its end pins a commit. A push is one commit, so a repository
holds all of it or none; a repository that is made is private unless it is asked to be public. The token is the hub
client's own (`hf auth login`, or `HF_TOKEN`): it is in no file, no message and no card.

Known trade-off: an interrupted push sends its small files again; large ones that had arrived are recognised by the hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    RepoFile,
    get_session,
    get_token,
    hf_hub_url,
    is_offline_mode,
)
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    build_hf_headers,
    disable_progress_bars,
    enable_progress_bars,
    hf_raise_for_status,
)

from ..errors import RunError, SpecError, StoreError
from ..models.boundary import first_line
from ..progress import Progress
from .cargo import BLOCK, Cargo
from .file_index import INDEX, Kind
from .places import WRITTEN_TO, Place

HUB_TIMEOUT = 60.0
"""Seconds that the hub may be silent."""
LARGE = (".h5", ".safetensors")
"""Files that are sent one by one before the commit that names them."""
RepoType = Literal["dataset", "model"]
OF_KIND: dict[Kind, RepoType] = {"run": "dataset", "probe": "model"}
_ADDRESS = re.compile(
    r"hf://(?:(?P<type>datasets|models)/)?(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(?:@(?P<revision>[\w./-]{1,200}))?/?",
    re.ASCII,
)


class Address(NamedTuple):
    """A repository."""

    repo: str
    """`user/name`"""
    type: RepoType | None
    revision: str | None


def parse_address(address: str) -> Address:
    """The repository that an address means.

    Raises:
        SpecError: it is none.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise SpecError(f"{address} is no repository of the hub; write hf://user/name, or hf://datasets/user/name")
    kind: RepoType | None = {"datasets": "dataset", "models": "model"}.get(found["type"] or "")  # type: ignore[assignment]
    return Address(found["repo"], kind, found["revision"])


def open_hub(address: str, kind: Kind | None, *, writing: bool, public: bool) -> Place:
    """The repository that an address means.

    Raises:
        SpecError: the address is none, the hub is not to be asked, or a push has no token.
        RunError: it cannot be reached.
    """
    found = parse_address(address)
    if is_offline_mode():
        raise SpecError(f"{address} is on the hub, which is not asked offline: unset HF_HUB_OFFLINE, or name a folder")
    token = get_token()
    if not writing:
        return _found(address, found, token)
    if token is None:
        raise SpecError(
            f"pushing to {address} needs a token of the hub that may write: `hf auth login`, or set HF_TOKEN"
        )
    if found.revision is not None:
        raise SpecError(f"{address} names a revision, and a push makes a new one: leave @{found.revision} out")
    return HubPlace(address, found.repo, found.type or OF_KIND[kind or "run"], token, public=public)


def _found(address: str, named: Address, token: str | None) -> HubPlace:
    """Where it is, of the types that the address leaves open, at the commit that it has now."""
    api = HfApi(token=token)
    for repo_type in (named.type,) if named.type else ("dataset", "model"):
        with _reached(address):
            try:
                info = api.repo_info(named.repo, repo_type=repo_type, revision=named.revision, timeout=HUB_TIMEOUT)
            except hub_errors.RevisionNotFoundError:
                raise RunError(f"{address} has no revision {named.revision}: check it") from None
            except hub_errors.RepositoryNotFoundError:
                continue
        return HubPlace(address, named.repo, repo_type, token, revision=info.sha)
    raise RunError(f"there is no repository at {address}, or it is private: check the name, or `hf auth login`")


class HubPlace:
    """One repository."""

    local: Path | None = None

    def __init__(
        self,
        address: str,
        repo: str,
        repo_type: RepoType,
        token: str | None,
        *,
        revision: str | None = None,
        public: bool = False,
    ) -> None:
        self._given, self._repo, self._type, self._revision = address, repo, repo_type, revision
        self._token, self._public = token, public
        self._api = HfApi(token=token)

    @property
    def address(self) -> str:
        at = f"@{self._revision}" if self._revision else ""
        return f"hf://{self._type}s/{self._repo}{at}"

    def sizes(self) -> dict[str, int]:
        with _reached(self._given):
            try:
                tree = self._api.list_repo_tree(
                    self._repo, recursive=True, repo_type=self._type, revision=self._revision
                )
                return {each.path: each.size for each in tree if isinstance(each, RepoFile)}
            except hub_errors.RepositoryNotFoundError:
                return {}
            except hub_errors.EntryNotFoundError:  # a repository without a commit
                return {}

    def read(self, path: str, most: int) -> Iterator[bytes]:
        url = hf_hub_url(self._repo, path, repo_type=self._type, revision=self._revision)
        with (
            _reached(self._given),
            get_session().stream(
                "GET", url, headers=build_hf_headers(token=self._token), timeout=HUB_TIMEOUT, follow_redirects=True
            ) as answer,
        ):
            hf_raise_for_status(answer)
            read = 0
            for block in answer.iter_bytes(BLOCK):
                yield block
                read += len(block)
                if read > most:
                    break

    def put(self, cargo: Cargo, there: Mapping[str, int], progress: Progress) -> None:
        additions = [CommitOperationAdd(INDEX, cargo.index.content())]
        for path, entry in cargo.index.files.items():
            place = cargo.local(path)
            added = CommitOperationAdd(path, place if isinstance(place, bytes) else str(place))
            if added.upload_info.sha256.hex() != entry.sha256:
                raise StoreError(WRITTEN_TO.format(cargo.folder / path))
            additions.append(added)
        with _reached(self._given):
            self._api.create_repo(self._repo, repo_type=self._type, private=not self._public, exist_ok=True)
            info = self._api.repo_info(self._repo, repo_type=self._type, timeout=HUB_TIMEOUT)
            if not self._public and not info.private:
                raise RunError(f"{self._given} is there, and public: add --public, or choose another name")
            self._revision = info.sha
            if any(path in (INDEX, *cargo.index.files) for path in self.sizes()):
                raise RunError(
                    f"{self._given} was written to by somebody else just now: look at it, and choose another"
                )
            with _without_bars():
                for number, each in enumerate(additions, start=1):
                    if each.path_in_repo.endswith(LARGE):
                        self._api.preupload_lfs_files(self._repo, [each], repo_type=self._type)
                    progress("push files", number, len(additions))
                done = self._api.create_commit(
                    self._repo,
                    additions,
                    commit_message=f"A {cargo.index.kind} of introspect",
                    repo_type=self._type,
                    parent_commit=info.sha,
                )
        self._revision = done.oid


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the client's own bars: verbs have theirs."""
    off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not off:
            enable_progress_bars()


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """Whatever the hub's client raises, as one line; the token is in none of its messages."""
    try:
        yield
    except hub_errors.GatedRepoError:
        raise RunError(f"{address} asks for its terms: accept them on huggingface.co, then `hf auth login`") from None
    except hub_errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise SpecError(
                f"the hub refuses {address}: the token may not do this, or is none any more; `hf auth login` with one "
                "that may write"
            ) from None
        raise RunError(f"the hub answered {status} for {address} ({first_line(error)}); try again later") from error
    except hub_errors.OfflineModeIsEnabled:
        raise SpecError(f"{address} is on the hub, which is not asked offline: unset HF_HUB_OFFLINE") from None
    except (hub_errors.HTTPError, TimeoutError, OSError, RuntimeError) as error:  # type: ignore[attr-defined]
        raise RunError(f"the hub cannot be reached for {address} ({first_line(error)}); try again later") from error
    except ValueError as error:
        raise RunError(f"the hub's client does not take {address} ({first_line(error)}); check it") from error
