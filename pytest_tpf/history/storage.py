"""Where the history lies, and opening it. SQLAlchemy is imported only when a history is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_tpf.history.errors import HistoryError

if TYPE_CHECKING:
    from pytest_tpf.history.store import Store

DEFAULT_FILE = ".tpf/history.db"
DEFAULT_URL = f"sqlite:///{DEFAULT_FILE}"


def nearest_folder(folder: Path) -> Path:
    """The nearest folder, from ``folder`` upwards, that has a history in the default place; ``folder`` itself where none has."""
    return next((parent for parent in (folder, *folder.parents) if (parent / DEFAULT_FILE).is_file()), folder)


def open_store(url: str = DEFAULT_URL, folder: Path | None = None, *, create: bool = True) -> Store:
    """The history at ``url``: ``sqlite:///FILE`` (relative to ``folder``, by default the current one) or ``postgresql://...``.

    A context manager; connections are closed at its end. The tables are made or brought up to date. With ``create`` false
    nothing is made: for those who only read.

    Raises:
        HistoryError: SQLAlchemy or psycopg is missing, the URL is wrong, the database can't be reached or isn't ours or is newer than
            this program; with ``create`` false, there is no history yet.
    """
    try:
        from pytest_tpf.history.store import Store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sqlalchemy":
            raise
        raise HistoryError('the history needs SQLAlchemy: pip install "pytest-tpf[history]"') from None
    return Store(url, folder or Path.cwd(), create=create)
