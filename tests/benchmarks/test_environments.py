"""The environments of other contenders."""

from benchmarks import environments


def test_half_an_environment_is_none(tmp_path):
    (tmp_path / "pytorch" / "bin").mkdir(parents=True)
    (tmp_path / "pytorch" / "bin" / "python").touch()
    assert environments.interpreter("pytorch", tmp_path) is None
    (tmp_path / "pytorch.log").write_text("Collecting\nERROR: no wheel\nmore\n")
    assert environments.why_missing("pytorch", tmp_path) == "not installed: ERROR: no wheel"


def test_environment_without_a_python_that_fits(tmp_path, monkeypatch):
    odd = environments.Environment(("nothing",), ("2.99",))
    monkeypatch.setitem(environments.ENVIRONMENTS, "odd", odd)
    assert environments.install("odd", folder=tmp_path) is False
    assert "no Python 2.99" in environments.why_missing("odd", tmp_path)
