"""Run the notebooks from top to bottom and store them with what they printed: `make notebooks`.

    python notebooks/execute.py                                   # both, the training one first
    python notebooks/execute.py --set ARCHIVE=cifake-train.tar.xz --set WEIGHTS=resnet18.safetensors

They run in a folder of their own, in which the second finds what the first one trained. What is stored holds no
picture of the data set, whose licence leaves that open, and nothing of the machine.
"""

from __future__ import annotations

import argparse
import ast
import base64
import copy
import io
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")  # else jupyter_core warns of its old folders

import nbclient
import nbformat
from PIL import Image

from deepfake_tf.writing import write_whole

HERE = Path(__file__).parent
NOTEBOOKS = ("training_notebook.ipynb", "evaluation_notebook.ipynb")  # in this order
PARAMETERS = "parameters"  # the tag of the cell that sets them, as papermill has it
PICTURES_OF_DATA = "pictures-of-data"  # the tag of cells whose pictures are not stored
CELL_TIMEOUT_SECONDS = 3600
PICTURE_WIDTH = 760  # pixels, of a stored picture
PICTURE_COLOURS = 128
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:work|root|home|tmp|usr|opt|mnt|var|Users|content)/[\w.]")


def execute(
    notebook: nbformat.NotebookNode, folder: str | Path, parameters: Mapping[str, Any]
) -> nbformat.NotebookNode:
    """Run all cells in a kernel of its own.

    Args:
        notebook: it is left as it is.
        folder: str or Path. The working folder.
        parameters: name -> value, set after the cell that is tagged "parameters".

    Returns:
        The notebook with its outputs, without the cell that set `parameters`.

    Raises:
        ValueError: the notebook has no such parameter.
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = copy.deepcopy(notebook)
    position = next(i for i, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", ()))
    known = {
        target.id
        for statement in ast.parse(notebook.cells[position].source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    if unknown := sorted(set(parameters) - known):
        raise ValueError(f"The notebook's parameters are {sorted(known)}. Received: {unknown}")
    source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(position + 1, nbformat.v4.new_code_cell(source))
    search_path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_TIMEOUT_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": search_path})
    del notebook.cells[position + 1]
    return notebook


def for_storing(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same without pictures of the data set, libraries' messages and times; other pictures made small."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "accelerator": "GPU",  # what Colab is asked for
    }
    for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.metadata.pop("execution", None)
        cell.execution_count = number + 1
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            data = output.get("data", {})
            if "image/png" in data:
                data["text/plain"] = "<a picture>"
                if PICTURES_OF_DATA in cell.metadata.get("tags", ()):
                    del data["image/png"]
                    data["text/plain"] = "<a picture of the data set, which is not stored: run the cell>"
                else:
                    data["image/png"] = _shrink(data["image/png"])
    return notebook


def find_faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What must not stand in a stored notebook: errors, tracebacks, paths of a machine, pictures of the data."""
    faults = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            texts = [str(value) for key, value in data.items() if "image" not in key]
            text = "\n".join([output.get("text", ""), *texts])
            if output.output_type == "error" or "Traceback (most recent call last)" in text:
                faults.append(f"cell {number}: an error")
            if found := MACHINE_PATH.search(text):
                faults.append(f"cell {number}: a path of a machine, {text[found.start() : found.start() + 60]!r}")
            if PICTURES_OF_DATA in cell.metadata.get("tags", ()) and any("image" in key for key in data):
                faults.append(f"cell {number}: a picture of the data set")
    return faults


def _shrink(encoded: str) -> str:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        width = min(PICTURE_WIDTH, picture.width)
        picture = picture.convert("RGB").resize((width, round(picture.height * width / picture.width)))
        buffer = io.BytesIO()
        picture.quantize(PICTURE_COLOURS).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", default=NOTEBOOKS, metavar="NOTEBOOK", help="default: both")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a file is named in full")
    options = parser.parse_args()
    values = dict(item.split("=", 1) for item in options.set)
    with tempfile.TemporaryDirectory() as folder:
        parameters: dict[str, Any] = {}
        for name, value in values.items():
            file = Path(value)
            if file.is_file():  # by a name that says nothing of this machine
                os.symlink(file.resolve(), Path(folder) / file.name)
                parameters[name] = file.name
            else:
                parameters[name] = _literal(value)
        for name in options.notebooks:
            path = HERE / name
            notebook = nbformat.read(path, as_version=4)
            code = "\n".join(cell.source for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", ()))
            own = {key: value for key, value in parameters.items() if re.search(rf"^{key} =", code, re.MULTILINE)}
            stored = for_storing(execute(notebook, folder, own))
            if faults := find_faults(stored):
                raise SystemExit(f"{name} is left as it was: " + "; ".join(faults))
            write_whole(path, nbformat.writes(stored).rstrip("\n") + "\n")
            print(f"wrote {path.name}, {path.stat().st_size / 1024:.0f} KiB")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
