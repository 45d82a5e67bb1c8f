"""What conftest promises to every test."""

from __future__ import annotations

import os
import random
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.support.environment import NetworkAccess, clean_environment
from visibility.settings import Settings


def test_nothing_outside_this_machine_can_be_reached():
    with pytest.raises(NetworkAccess), socket.socket() as connection:
        connection.connect(("93.184.215.14", 80))
    with pytest.raises(NetworkAccess):
        socket.getaddrinfo("example.com", 80)
    with pytest.raises(NetworkAccess):
        urllib.request.urlopen("http://example.com", timeout=1)


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as connection:
        connection.connect(server.getsockname())


def test_no_key_and_no_database_of_the_caller_is_seen(monkeypatch, tmp_path):
    for name in ("BRIGHTDATA_API_KEY", "OPENAI_API_KEY", "DATABASE_URL", "PREFECT_API_URL", "https_proxy", "PGHOST"):
        monkeypatch.setenv(name, "x")
    clean_environment(Path(os.environ["HOME"]))
    left = {"BRIGHTDATA_API_KEY", "OPENAI_API_KEY", "DATABASE_URL", "PREFECT_API_URL", "https_proxy", "PGHOST"}
    assert left.isdisjoint(os.environ)


def test_a_dotenv_file_in_the_working_directory_is_not_read(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://x\nOPENAI_API_KEY=x\nBRIGHTDATA_API_KEY=x\n")
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert (settings.database_url, settings.llm.openai_api_key, settings.brightdata.api_key) == (None, None, None)


def test_data_goes_into_the_folder_of_the_run():
    assert str(Settings().data_folder).startswith(os.environ["TEST_RUN_FOLDER"])
    assert str(Path.home()).startswith(os.environ["TEST_RUN_FOLDER"])


@pytest.mark.parametrize("turn", [1, 2])
def test_randomness_is_the_same_in_every_test(turn):
    assert random.random() == random.Random(0).random()
