"""Where the files of a data set are, and how they get there."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import warnings
from pathlib import Path

from flowpolicy.data.names import DatasetName
from flowpolicy.errors import DataError

ROOT_VARIABLE = "FLOWPOLICY_DATA"
EMBEDDED = Path(__file__).with_name("embedded")
OGBENCH_ROOT = Path("~/.ogbench/data")


def default_root() -> Path:
    """The folder for new files: ``FLOWPOLICY_DATA`` if set, else OGBench's own."""
    return Path(os.environ.get(ROOT_VARIABLE) or OGBENCH_ROOT).expanduser()


def find_file(
    name: DatasetName, split: str, root: str | Path | None, *, download: bool = True
) -> Path:
    """The file of a split, downloaded if it is nowhere.

    A ``root`` that is given is the only folder that is looked into. Otherwise these are, in order:
    ``FLOWPOLICY_DATA``, ``~/.ogbench/data``, and the small sets that ship with the package: whoever
    has the official file gets it.

    Raises:
        DataError: not there, and not to be downloaded or not downloadable.
    """
    file = name.file(split)
    if root is not None:
        target = Path(root).expanduser()
        folders = [target]
    else:
        target = default_root()
        folders = [target, OGBENCH_ROOT.expanduser(), EMBEDDED]
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    if not download:
        looked = ", ".join(dict.fromkeys(map(str, folders)))
        raise DataError(
            f"{file} is not in {looked}. Pass root= or set {ROOT_VARIABLE} to the folder that has "
            f"it, let it be downloaded, or make one: {command(name)}."
        )
    fetch(name, target)
    if not (target / file).is_file():
        raise DataError(f"OGBench's download left no {file} in {target}. Try again.")
    return target / file


def fetch(name: DatasetName, folder: Path) -> None:
    """Download both splits with OGBench's own function, which shows a progress bar.

    Raises:
        DataError: the files cannot be fetched.
    """
    import ogbench

    try:
        with (
            contextlib.redirect_stdout(sys.stderr),  # results alone belong on stdout
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", ResourceWarning)  # OGBench does not close its files,
            ogbench.download_datasets([name.stem], str(folder))
            gc.collect()  # so their last bytes are on disk only once they are collected
    except OSError as error:  # urllib's errors are among them
        raise DataError(
            f"{name.stem} could not be downloaded into {folder} ({error}). Put "
            f"{name.file('train')} there by hand, or make a data set of your own: {command(name)}."
        ) from error


def command(name: DatasetName) -> str:
    """The command that makes such a data set locally."""
    return f"flowpolicy data generate {name.stem} --root FOLDER"
