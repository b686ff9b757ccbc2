"""What the parser offers is what the code behind it takes."""

import argparse

import pytest

from deepfake_tf.cli.parser import COMMANDS, build_parser
from deepfake_tf.cli.predict import FORMATS_BY_SUFFIX, ROW_FORMATS
from deepfake_tf.engines.names import ENGINES


def choices_of(command: str, option: str):
    subparsers = next(item for item in build_parser()._actions if isinstance(item, argparse._SubParsersAction))
    return next(item.choices for item in subparsers.choices[command]._actions if option in item.option_strings)


def test_every_command_has_its_file_and_is_named_like_it():
    subparsers = next(item for item in build_parser()._actions if isinstance(item, argparse._SubParsersAction))
    assert tuple(subparsers.choices) == COMMANDS


@pytest.mark.parametrize("command", ["predict", "explain", "demo"])
def test_detectors_engines_are_offered(command):

    assert choices_of(command, "--engine") == ENGINES


@pytest.mark.parametrize("command", ["serve", "app"])
def test_serving_engines_are_offered(command):
    from deepfake_tf.server.launch import ENGINES

    assert choices_of(command, "--engine") == ENGINES


def test_formats_are_those_of_the_writers():
    from deepfake_tf.output import row_file, tables

    assert ROW_FORMATS == row_file.FORMATS
    assert {"table", *FORMATS_BY_SUFFIX.values()} == set(tables.FORMATS)
