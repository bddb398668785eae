"""Where a checkpoint's files are: a folder on this machine or a repository on the Hugging Face hub."""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from videomae.core.errors import CheckpointError

logger = logging.getLogger(__name__)

# Where the hub library logs its attempts.
_HUB_LOGGER = "huggingface_hub.utils._http"

WEIGHTS_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
# What a training folder holds beside its checkpoint: the run state, several times as large as the weights, and files
# with paths of this machine and frames of its videos.
_NEVER_UPLOADED = (
    *("recipe.json", "metrics.jsonl", "report.html"),
    *("state/*", "pictures/*", "tensorboard/*", "wandb/*", "trackio/*"),
)
_MAX_LISTED = 5
_MAX_NAME_BYTES = 255
_COMMIT = re.compile("[0-9a-f]{40}")


class HubOptions(TypedDict, total=False):
    """Options of a hub name; for a local folder only `subfolder` counts.

    Keys: `cache_dir` (default: the hub library's), `revision` (branch, tag or commit), `token` (string, True for the
    stored one, False for none), `subfolder` (of the folder or repository), `local_files_only` (only what is cached),
    `force_download` (even if cached), `endpoint` (another hub server than the default).
    """

    cache_dir: str | Path | None
    revision: str | None
    token: str | bool | None
    subfolder: str
    local_files_only: bool
    force_download: bool
    endpoint: str | None


def split_hub_options(keywords: Mapping[str, Any]) -> tuple[HubOptions, dict[str, Any]]:
    """Part the keywords of a `from_pretrained` into those about the hub and all others."""
    known = HubOptions.__annotations__
    options: Any = {name: value for name, value in keywords.items() if name in known}
    return options, {name: value for name, value in keywords.items() if name not in known}


def require_possible_name(source: str | Path) -> None:
    """Raise a CheckpointError for what no system takes as a path, and no hub as a name."""
    parts = Path(source).parts
    if "\0" in str(source) or any(len(part.encode(errors="surrogatepass")) > _MAX_NAME_BYTES for part in parts):
        raise CheckpointError(
            repr(str(source)[:100]), expected="a folder on this machine, or owner/name on the hub", hint="correct it"
        )


def resolve_file(name_or_path: str | Path, filename: str, **options: Unpack[HubOptions]) -> Path | None:
    """Find one file of a checkpoint.

    Args:
        name_or_path: a folder, or a repository's name on the hub (`owner/name`); a folder of that name wins.
        filename: name of the file inside the folder or repository, such as `config.json`.
        options: see `HubOptions`.

    Returns:
        The file's path on this machine (downloaded into the hub library's cache if need be), or None where the folder
        or repository exists and has no such file.

    Raises:
        CheckpointError: no such folder or repository, no access, or the hub cannot be reached.
    """
    path = Path(name_or_path).expanduser()
    subfolder = str(options.get("subfolder") or "")
    if (
        ".." in re.split(r"[\\/]", f"{subfolder}/{filename}")
        or Path(subfolder).is_absolute()
        or "\0" in f"{name_or_path}{subfolder}"
    ):
        raise CheckpointError(
            f"subfolder={subfolder!r} of {str(name_or_path)!r}", expected="a folder inside it", hint="leave out .."
        )
    if path.is_dir():
        file = path / subfolder / filename
        return file if file.is_file() else None
    if path.exists():
        raise CheckpointError(name_or_path, expected="a folder or a hub name", hint="give the folder that holds it")
    if "/" not in str(name_or_path):
        # No VideoMAE on the hub lacks an owner, and asking for a mistyped folder costs half a minute without a network.
        raise CheckpointError(
            name_or_path, expected="a folder on this machine, or owner/name on the hub", hint="there is no such folder"
        )
    # A folder may also be named like an owner on the hub, so a near name is suggested and nothing is refused for it.
    siblings = [other.name for other in path.parent.iterdir() if other.is_dir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    if not close:
        return _download(str(name_or_path), filename, options)
    near = f"did you mean {path.parent / close[0]}?"
    logger.warning("no folder %s here, asking the hub; %s", name_or_path, near)
    try:
        return _download(str(name_or_path), filename, options)
    except CheckpointError as error:
        raise CheckpointError(error.value, expected=error.expected, hint=f"{near} {error.hint}") from error


def repository_of(source: str | Path) -> str | None:
    """`owner/name` of a hub name, or of a file on the hub; None for what is here and for all else."""
    found = re.fullmatch(r"([\w.-]*\w/[\w.-]+)(/[^/].*)?", str(source), re.ASCII)
    return None if found is None or Path(source).exists() else found[1]


def resolve_named_file(source: str | Path, **options: Unpack[HubOptions]) -> Path | None:
    """The file of weights on the hub that `owner/name/path/to/file.pth` names, on this machine.

    Returns:
        Its path in the hub library's cache; None for a source of another form, and for what is here.

    Raises:
        CheckpointError: no such repository or file, no access, or the hub cannot be reached.
    """
    repository = repository_of(source)
    file = str(source).removeprefix(f"{repository}/")
    if repository is None or repository == str(source) or not file.lower().endswith(WEIGHTS_SUFFIXES):
        return None
    path = resolve_file(repository, file, **options)
    if path is None:
        raise CheckpointError(source, expected="an existing file", hint=_files_of(repository, options))
    return path


def lacks_config(source: str | Path, config_name: str, **options: Unpack[HubOptions]) -> CheckpointError:
    """The error for a folder or repository without a configuration; it lists the files of weights that are there."""
    return CheckpointError(
        source, expected=f"a checkpoint folder with {config_name}", hint=_files_of(str(source), options)
    )


def _files_of(source: str, options: HubOptions) -> str:
    """What to do where a folder or repository has not what was looked for: its files of weights, by name."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        names = [path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("*/*"))]
    elif _is_offline(options):
        return "only what is cached was looked at; try again with the hub"
    else:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=options.get("endpoint"), token=options.get("token"))
        try:
            siblings = api.model_info(source, revision=options.get("revision")).siblings or []
        except Exception as error:
            raise _explained(source, error) from error
        names = [sibling.rfilename for sibling in siblings]
    found = [f"{source}/{name}" for name in sorted(names) if name.lower().endswith(WEIGHTS_SUFFIXES)]
    more = f" and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
    if found:
        return f"give one of its files of weights, {' or '.join(found[:_MAX_LISTED])}{more}"
    return "give a folder that save_pretrained or a training command wrote"


def upload_folder(
    folder: str | Path,
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
    endpoint: str | None = None,
    use_temp_dir: object = None,
) -> str:
    """Upload a folder's files to a model repository on the hub, which is made if it does not exist.

    `use_temp_dir` changes nothing; callers of transformers' `push_to_hub` give it.

    What a training folder holds beside its checkpoint (run state, recipe, metrics, report, pictures) stays here.

    Returns:
        The address of the commit (or of the pull request with `create_pr`).

    Raises:
        CheckpointError: `folder` is no folder, the hub refuses, or it cannot be reached.
    """
    from huggingface_hub import HfApi

    if not Path(folder).is_dir():
        raise CheckpointError(folder, expected="a folder to upload", hint="save the model there first")
    if _is_offline({}):
        raise CheckpointError(repo_id, expected="a hub that may be asked", hint="unset HF_HUB_OFFLINE to upload")
    api = HfApi(endpoint=endpoint, token=token)
    try:
        with _retries_in_one_line(repo_id):
            name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                ignore_patterns=list(_NEVER_UPLOADED),
                revision=revision,
                commit_message=commit_message or f"Upload {Path(folder).resolve().name}",
                create_pr=create_pr,
            )
    except Exception as error:
        raise _explained(repo_id, error) from error
    return str(commit.pr_url or commit.commit_url)


@dataclass
class _Found:
    """What was found on the hub so far: files by what was asked for, and commits by (repository, revision)."""

    files: dict[tuple[object, ...], Path | None] = field(default_factory=dict)
    commits: dict[tuple[str, str | None], str] = field(default_factory=dict)


_found: ContextVar[_Found | None] = ContextVar("_found", default=None)


@contextmanager
def one_commit() -> Iterator[None]:
    """Within it, or in a function that it decorates, all files of a repository are of the same commit.

    Without it a commit that is made meanwhile could give one checkpoint's configuration and another's weights. The hub
    is asked once for each file, and not at all for what the cache has of a commit.
    """
    token = _found.set(_found.get() or _Found())
    try:
        yield
    finally:
        _found.reset(token)


def _download(repo_id: str, filename: str, options: HubOptions) -> Path | None:
    found = _found.get()
    if found is None:
        return _downloaded(repo_id, filename, options)
    asked = (repo_id, filename, *sorted((name, str(value)) for name, value in options.items()))
    if asked not in found.files:
        revision = (repo_id, options.get("revision"))
        pinned: HubOptions = {**options, "revision": found.commits.get(revision, revision[1])}
        path = found.files[asked] = _downloaded(repo_id, filename, pinned)
        if path is not None:
            place = Path(options.get("subfolder") or "", filename)
            found.commits[revision] = path.parents[len(place.parts) - 1].name
    return found.files[asked]


def _downloaded(repo_id: str, filename: str, options: HubOptions) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if options.get("force_download") and _is_offline(options):
        raise CheckpointError(
            f"{repo_id} with force_download=True, offline", expected="one of the two", hint="leave one of them out"
        )
    keywords: dict[str, Any] = {name: value for name, value in options.items() if value not in (None, "")}
    place = f"{options.get('subfolder') or ''}/{filename}".removeprefix("/")
    cache = {name: keywords[name] for name in ("cache_dir", "revision") if name in keywords}
    try:
        known = None if options.get("force_download") else try_to_load_from_cache(repo_id, place, **cache)
        if known is not None and not isinstance(known, str) and _COMMIT.fullmatch(options.get("revision") or ""):
            return None  # the cache knows that this commit has no such file
        with _retries_in_one_line(repo_id):
            path = hf_hub_download(repo_id, filename, **keywords)
    except LocalEntryNotFoundError as error:
        # Raised both without a connection and for a file that the cache lacks. Only a cached repository that was
        # asked for offline, on purpose, shows that the file does not exist.
        if _is_offline(options) and _is_cached(repo_id, options):
            return None
        raise _explained(repo_id, error) from error
    except EntryNotFoundError:
        return None
    except Exception as error:
        raise _explained(repo_id, error) from error
    if path != known:
        _require_announced_bytes(f"{repo_id}/{place}", Path(path))
    return Path(path)


def _require_announced_bytes(source: str, path: Path) -> None:
    """Remove a file that has just arrived, and raise, if its bytes are not those that the hub announced.

    The hub library looks at the size alone. A large file is stored under its SHA-256, as the hub announced it; on
    systems without symbolic links it is not, and cannot be compared.
    """
    blob = path.resolve()
    if not re.fullmatch("[0-9a-f]{64}", blob.name):
        return
    with blob.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == blob.name:
            return
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)
    raise CheckpointError(
        f"{source} with other bytes than the hub announced",
        expected=f"the SHA-256 {blob.name[:16]}…",
        hint="it was spoilt on its way and has been removed; try again",
    )


@contextmanager
def _retries_in_one_line(repo_id: str) -> Iterator[None]:
    """Within it the hub library's warnings about its attempts, two for each, are one of ours."""
    has_warned = False

    def is_other(record: logging.LogRecord) -> bool:
        nonlocal has_warned
        failure = re.match(r"'?(.*?)'? thrown while requesting", message := record.getMessage())
        if failure and not has_warned:
            has_warned = True
            logger.warning("%s: no answer from the hub (%s), trying again", repo_id, failure[1])
        return not (failure or message.startswith(("Retrying in", "Rate limited")))

    hub_logger = logging.getLogger(_HUB_LOGGER)
    hub_logger.addFilter(is_other)
    try:
        yield
    finally:
        hub_logger.removeFilter(is_other)


def _is_offline(options: HubOptions) -> bool:
    from huggingface_hub import constants

    return options.get("local_files_only", False) or constants.HF_HUB_OFFLINE


def _is_cached(repo_id: str, options: HubOptions) -> bool:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(options.get("cache_dir") or constants.HF_HUB_CACHE)
    repository = cache / repo_folder_name(repo_id=repo_id, repo_type="model")
    revision = options.get("revision") or "main"
    reference = repository / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    return (repository / "snapshots" / commit).is_dir()


def _explained(repo_id: str, error: Exception) -> Exception:
    """The error in one line with what to do; an error that is not about the hub stays as it is."""
    from huggingface_hub import errors

    folder = "a folder on this machine or a repository on the hub"
    # What the hub answered is the cause of the error where nothing is cached either, all was to be downloaded anew
    # (ValueError), or one of several files cannot be uploaded (RuntimeError).
    cause = error.__cause__
    is_wrapped = type(error) in (ValueError, RuntimeError) and _is_transport_error(cause)
    if isinstance(cause, Exception) and (isinstance(cause, errors.HfHubHTTPError) or is_wrapped):
        error = cause
    if isinstance(error, errors.HFValidationError):
        return CheckpointError(repo_id, expected=folder, hint="there is no such folder, and the hub has no such names")
    if isinstance(error, errors.GatedRepoError):
        return CheckpointError(
            repo_id, expected="a repository that you may read", hint="accept its terms on the hub, then pass token="
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            repo_id, expected=folder, hint="check the name; for a private repository log in or pass token="
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(repo_id, expected="an existing branch, tag or commit", hint="check revision=")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return CheckpointError(
            repo_id,
            expected=folder,
            hint="there is no such folder, it is not in the local cache, and the hub was not reached; check the path "
            "and the network, or pass local_files_only=True to use only what is cached",
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, errors.HfHubHTTPError) and getattr(error.response, "status_code", None) in (401, 403):
        return CheckpointError(
            repo_id, expected="a token that has the right to do this", hint=f"log in or pass token=; it said: {reason}"
        )
    if isinstance(error, errors.HfHubHTTPError) or _is_transport_error(error):
        return CheckpointError(repo_id, expected="an answer from the hub", hint=f"it failed with: {reason}")
    if isinstance(error, OSError):  # fewer bytes than announced, a full disk, no token stored
        return CheckpointError(repo_id, expected="a whole download", hint=f"it failed with: {reason}; try again")
    return error


def _is_transport_error(error: BaseException | None) -> bool:
    # The hub library changed its HTTP client from release to release (requests, httpx), and lets its errors through.
    return any(base.__module__.partition(".")[0] in {"requests", "httpx", "httpx2"} for base in type(error).__mro__)
