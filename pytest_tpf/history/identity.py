"""Under which name a test's figures are kept from run to run. Pure."""

from __future__ import annotations

from collections.abc import Mapping

ID_LABEL = "id"


def key_of(nodeid: str, labels: Mapping[str, str]) -> str:
    """The node id; or the label ``id``, so that a test that is renamed or moved keeps its history, with the parameters of the node id.

    The label may be an old node id: whoever renames a test gives it the old name as its label.
    """
    name = labels.get(ID_LABEL)
    if not name:
        return nodeid
    test = nodeid.partition("::")[2]  # a bracket before it belongs to a folder's name
    parameters = test[test.index("[") :] if test.endswith("]") and "[" in test else ""
    return name if name.endswith(parameters) else f"{name}{parameters}"
