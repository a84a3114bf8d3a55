"""Modules that are exported once for all tests of this folder."""

import exports
import pytest


@pytest.fixture(scope="session")
def gan():
    return exports.random_gan()


@pytest.fixture(scope="session")
def module(gan, tmp_path_factory):
    return exports.export(gan, tmp_path_factory.mktemp("export") / "plain")


@pytest.fixture(scope="session")
def conditional():
    return exports.conditional_gan()


@pytest.fixture(scope="session")
def conditional_module(conditional, tmp_path_factory):
    return exports.export(
        conditional, tmp_path_factory.mktemp("export") / "conditional"
    )


@pytest.fixture(scope="session")
def fine_tunable(conditional, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "fine_tunable"
    return exports.export(conditional, path, fine_tunable=True)
