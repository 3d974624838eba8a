"""Virtual environments of the peers."""

from benchmarks import environments


def test_incomplete_environment_is_none(tmp_path):
    (tmp_path / "pytorch" / "bin").mkdir(parents=True)
    (tmp_path / "pytorch" / "bin" / "python").touch()
    assert environments.interpreter("pytorch", tmp_path) is None
    (tmp_path / "pytorch.log").write_text("Collecting\nERROR: no wheel\nmore\n")
    assert environments.installation_error("pytorch", tmp_path) == "not installed: ERROR: no wheel"


def test_environment_without_a_supported_python(tmp_path, monkeypatch):
    unsupported = environments.Environment(("nothing",), ("2.99",))
    monkeypatch.setitem(environments.ENVIRONMENTS, "odd", unsupported)
    assert environments.install("odd", folder=tmp_path) is False
    assert "no Python 2.99" in environments.installation_error("odd", tmp_path)
