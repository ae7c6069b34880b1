"""The training notebook, ``book/train.ipynb``, from outside: where it is, which parameters it has, and its execution.

``glasslit train`` is made of this. Nothing that computes is imported before the notebook is executed, so that a help
text which lists the parameters appears at once.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..locks import OutputLock
from ..writing import room_for
from .parameters import check_parameters

_PROGRESS = re.compile(r"<progress value=(\d+) max=(\d+)></progress>\s*(.*)", re.S)
_ANSI = re.compile("\x1b\\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Setting:
    """A parameter as the notebook's cell tagged ``parameters`` has it.

    Parameters
    ----------
    name : of the parameter
    default : its value there
    comment : what stands beside it, and below it, in one line; empty if nothing does
    """

    name: str
    default: Any
    comment: str


def find_template() -> Path:
    """The training notebook: inside an installed package, else ``book/train.ipynb`` of the checkout around it.

    Raises
    ------
    ValueError
        If it is in neither place.
    """
    package = Path(str(resources.files("glasslit")))
    places = [package / "data" / "train.ipynb", package.parent / "book" / "train.ipynb"]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(
        f"the training notebook is neither {places[0]} nor {places[1]}; expected it in an installed package or in a "
        "checkout: install glasslit again"
    )


def settings(notebook: str | Path) -> list[Setting]:
    """What the notebook's cell tagged ``parameters`` assigns, in its order.

    Raises
    ------
    ValueError
        If the file is no notebook with such a cell, or a default value is no plain value.

    Examples
    --------
    >>> [setting.name for setting in settings(find_template())][:3]
    ['T', 'data', 'inputs']
    >>> settings(find_template())[3].default
    'propensity'
    """
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
        (source,) = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
        assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
        values = [(node.targets[0].id, ast.literal_eval(node.value), node.lineno) for node in assigned]  # type: ignore[attr-defined]
    except (OSError, LookupError, TypeError, AttributeError, ValueError, SyntaxError) as error:
        raise ValueError(
            f"{notebook} has no readable parameters ({error}); expected a notebook with one cell tagged 'parameters', "
            "which assigns a plain value to each name"
        ) from error
    comments: dict[str, list[str]] = {name: [] for name, _, _ in values}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        before = [name for name, _, line in values if line <= token.start[0]]
        if token.type == tokenize.COMMENT and before:
            comments[before[-1]].append(token.string.lstrip("# ").rstrip())
    return [Setting(name, value, " ".join(comments[name])) for name, value, _ in values]


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Parameters written as YAML, checked and converted as in :func:`~glasslit.learning.parameters.check_parameters`.

    Parameters
    ----------
    text : such as ``"times: [13, 412]"``
    where : what the text is called in a message

    Raises
    ------
    ValueError
        If it is not YAML, holds no names with values, or a name or value that no parameter has.

    Examples
    --------
    >>> read_yaml("{T: 0.5, shuffle_labels: yes}", "-y")
    {'T': 0.5, 'shuffle_labels': True}
    """
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not YAML ({error}); expected lines such as T: 0.5") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where} holds {found!r}; expected names with values, in lines such as T: 0.5")
    try:
        return check_parameters(found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def warnings_in(executed: str | Path) -> list[str]:
    """What an executed notebook warned of, each once: the texts of its ``UserWarning``.

    They stand in the notebook, which nobody needs to open who trains from a terminal.
    """
    try:
        cells = json.loads(Path(executed).read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return []
    streams = [
        "".join(out["text"])
        for cell in cells
        for out in cell.get("outputs", ())
        if out.get("output_type") == "stream" and out.get("name") == "stderr"
    ]
    return list(dict.fromkeys(text for each in streams for text in re.findall(r": UserWarning: (.+)", each)))


def execute(
    notebook: str | Path,
    executed: str | Path,
    parameters: Mapping[str, Any],
    progress: Callable[[int, int, str], None] = lambda epoch, epochs, state: None,
) -> None:
    """Execute the training notebook with papermill, in the current folder.

    Parameters
    ----------
    notebook : what is executed
    executed : where the executed notebook goes, in one step when it has finished: ``runs/T0.44.ipynb``. One that failed
        goes to ``runs/.T0.44.failed.ipynb`` and leaves an earlier one alone
    parameters : for the cell tagged ``parameters``
    progress : is called with the number of the epoch, the number of all epochs and a sentence, while training proceeds

    Raises
    ------
    ValueError
        If a parameter has a name or a value that it cannot have; before anything is started.
    RuntimeError
        If the notebook fails: the last lines of its traceback where these say more than the error, and the error; or if
        another process executes the same notebook to the same place.
    OSError
        If there is no room for the notebook; an earlier one is left alone.
    KeyboardInterrupt
        If it was interrupted; the same call goes on with the last finished epoch.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    class Client(PapermillNotebookClient):
        """Tells of the notebook's progress bar; papermill's own stands still while a cell is executed."""

        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            data = msg["content"].get("data") or {}
            if found := _PROGRESS.match(data.get("text/html") or ""):
                progress(int(found[1]), int(found[2]), found[3])
            return super().process_message(msg, cell, cell_index)

    class Engine(NBClientEngine):
        """papermill's, with that client; what the kernel says beside its notebook is left out."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            client = Client(nb_man, kernel_name=kernel_name, timeout=None, startup_timeout=options["start_timeout"])
            return client.execute(stderr=subprocess.DEVNULL)

    given, executed = check_parameters(parameters), Path(executed)
    under_way, failed = (executed.with_name(f".{executed.stem}.{end}.ipynb") for end in ("partial", "failed"))
    papermill_engines.register("glasslit", Engine)
    with room_for(executed), OutputLock(executed, "name another notebook (-o runs/NAME.ipynb)"):
        try:
            papermill.execute_notebook(
                str(notebook), str(under_way), given, engine_name="glasslit", cwd=str(Path.cwd()), progress_bar=False
            )
        except papermill.PapermillExecutionError as error:
            under_way.replace(failed)
            raise RuntimeError(_last_words(error, failed)) from error
        except DeadKernelError as error:
            raise RuntimeError(
                "the process that trains has died, for want of memory perhaps; the same command goes on with the last "
                "finished epoch"
            ) from error
        else:
            under_way.replace(executed)
            failed.unlink(missing_ok=True)
        finally:
            under_way.unlink(missing_ok=True)


def _last_words(error: Any, failed: Path) -> str:
    """Why a notebook failed, for a terminal."""
    said = f"{error.ename}: {error.evalue}; the notebook with the whole traceback is {failed}"
    if error.ename in ("ValueError", "RuntimeError", "ModuleNotFoundError", "ConnectionError"):  # sentences of ours
        return said
    lines = _ANSI.sub("", "\n".join(error.traceback)).splitlines()
    return "\n".join(["the training failed; its last lines:", *lines[-12:], said])
