"""The page of `keras-s2s web`, asked as browsers ask, and in a real one where there is one."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest
from imitation_server import Failure, Models, start_rest

import keras_s2s
from keras_s2s.cli.web.models import LocalModel, connect
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.utils.errors import InputError, ServerError

flask = pytest.importorskip("flask", reason="the page needs Flask: pip install 'keras-s2s[web]'")
from keras_s2s.cli.web import app as web  # noqa: E402

ODD = "<script>alert(1)</script> & \"you\" 'see' 🙂 \u202eyou\0"


@pytest.fixture
def client(attending, plain):
    """Asks the page about two models."""
    models = [LocalModel("runs/attends", attending), LocalModel("<runs> & plain", plain)]
    return web.make_app(models, ["localhost"]).test_client()


def failing(error):
    def ask(sentence):
        raise error

    model = SimpleNamespace(name="broken", place="nowhere", ask=ask)
    return web.make_app([model]).test_client()


class TestPage:
    def test_it_comes_without_an_answer(self, client):
        response = client.get("/")
        assert response.status_code == 200
        page = response.get_data(as_text=True)
        assert "&lt;runs&gt; &amp; plain" in page
        assert page.count("<section") == 2
        assert "translation" not in re.sub(r"<(title|h1).*?</\1>", "", page)

    def test_answers_without_the_script(self, client, plain, attending):
        page = client.post("/", data={"sentence": "I see you."}).get_data(as_text=True)
        for model in (plain, attending):
            assert f'dir="auto">{model.translate(["I see you."])[0]}</p>' in page
        assert page.count('<table class="candidates">') == 2
        assert page.count('<table class="attention">') == 1
        assert page.count("no attention, so there is no picture") == 1
        assert len(re.findall(r'class="latency">[\d.,]+ ms<', page)) == 4
        assert ">\nI see you.</textarea>" in page

    def test_an_answer_alone(self, client, attending):
        part = client.post("/answers/0", data={"sentence": "Go."}).get_data(as_text=True)
        size = attending.beam_size
        [texts], [scores] = attending.translate(["Go."], beam=size, n_best=size, return_scores=True)
        rows = re.findall(r"<td>(\d)</td><td.*?>(.*?)</td><td>−([\d.]+)</td>", part)
        assert rows == [
            (str(rank), text.replace("'", "&#39;"), f"{-score:.3f}")
            for rank, (text, score) in enumerate(zip(texts, scores, strict=True), 1)
        ]
        assert "<html" not in part
        assert client.post("/answers/2", data={"sentence": "Go."}).status_code == 404

    @pytest.mark.parametrize("sentence", [ODD, "«\n»\t\r\n", "a" * web.MAX_CHARACTERS])
    def test_odd_sentences_are_escaped(self, sentence, client):
        response = client.post("/", data={"sentence": sentence})
        assert response.status_code == 200
        page = response.get_data(as_text=True)
        assert "<script>alert" not in page
        assert 'class="error"' not in page
        assert ("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;you&#34;" in page) == (
            sentence == ODD
        )

    @pytest.mark.parametrize("sentence", ["", " \r\n\t"])
    def test_nothing_to_translate(self, sentence, client):
        page = client.post("/", data={"sentence": sentence}).get_data(as_text=True)
        assert page.count("There is nothing to translate yet") == 2

    @pytest.mark.parametrize("size", [web.MAX_CHARACTERS + 1, 10 * web.MAX_BYTES])
    def test_a_text_that_is_too_long(self, size, client):
        response = client.post("/answers/0", data={"sentence": "a" * size})
        part = response.get_data(as_text=True)
        assert "characters; give at most 10,000." in part
        assert len(part) < 500

    def test_everything_comes_from_here(self, client):
        for path, kind in (
            ("/", "text/html"),
            ("/files/page.css", "text/css"),
            ("/files/page.js", "text/javascript"),
        ):
            response = client.get(path)
            assert response.status_code == 200
            assert response.content_type.startswith(kind)
            assert "://" not in response.get_data(as_text=True)
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none';")
            assert "http" not in policy
            response.close()

    def test_names_of_others_are_refused(self, client):
        assert client.get("/", headers={"Host": "example.org"}).status_code == 400
        assert client.get("/", headers={"Host": "localhost:7860"}).status_code == 200


class TestErrors:
    @pytest.mark.parametrize(
        "error", [InputError("a < b;\ngive c"), ServerError("a < b;\ngive c", "X")]
    )
    def test_expected_ones_are_a_line(self, error, caplog):
        response = failing(error).post("/", data={"sentence": "Go."})
        assert response.status_code == 200
        assert '<p class="error" role="alert">a &lt; b; give c</p>' in response.get_data(
            as_text=True
        )
        assert not caplog.records

    def test_a_defect_is_a_line_too_and_the_terminal_has_the_rest(self, caplog):
        page = failing(ZeroDivisionError("by zero\nmore")).post("/", data={"sentence": "Go."})
        text = page.get_data(as_text=True)
        assert "The model failed (ZeroDivisionError: by zero); the terminal says more." in text
        assert "Traceback" not in text
        assert caplog.records[0].exc_info[0] is ZeroDivisionError


class TestAddress:
    def test_a_port_in_use(self, refused, trained_run):
        with web.listen("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
            line = refused("web", trained_run, "--port", port)
        assert line == (
            f"port {port} of 127.0.0.1 cannot be used (Address already in use); "
            "give another --port, or 0 for any that is free"
        )

    @pytest.mark.parametrize(
        ("host", "port", "message"),
        [
            ("127.0.0.1", 65536, "--port is 65536; give 0 to 65535"),
            ("127.0.0.1", -1, "--port is -1"),
            ("no.such.host.invalid", 0, "--host is 'no.such.host.invalid', which is no address"),
            ("192.0.2.1", 0, "give an address of this machine as --host"),
        ],
    )
    def test_one_that_cannot_be_used(self, host, port, message, refused, trained_run):
        assert message in refused("web", trained_run, "--host", host, "--port", port)

    def test_who_reaches_it(self):
        with web.listen("localhost", 0) as listener:
            assert web.is_local(listener)
            assert web.url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with web.listen("0.0.0.0", 0) as listener:
            assert not web.is_local(listener)


def test_without_the_extra(refused, trained_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "flask", None)
    monkeypatch.delitem(sys.modules, "keras_s2s.cli.web.app")
    monkeypatch.delattr(keras_s2s, "web")
    line = refused("web", trained_run)
    assert line.startswith("the page needs packages that are not installed (")
    assert line.endswith("pip install 'keras-s2s[web]'")


def test_models_that_are_not_there(refused, trained_run, tmp_path):
    assert "no such file or folder" in refused("web", tmp_path / "none", "--port", 0)
    assert "no such file or folder" in refused("web", trained_run, tmp_path / "none", "--port", 0)
    address = "http://localhost/en-fr"
    assert "is no address of a model" in refused("web", address, trained_run, "--port", 0)
    assert "unknown argument" in refused("web", "a", "b", "--port", 0, "c")


@pytest.mark.usefixtures("ctrl_c")
def test_the_command(trained_run, exported_run):
    command = [sys.executable, "-m", "keras_s2s", "web", trained_run, "--port", "0", exported_run]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stderr.readline()
        address = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/) in a browser; Ctrl-C ends\n", said)
        assert address, said
        question = urllib.parse.urlencode({"sentence": "Go."}).encode()
        with urllib.request.urlopen(address[1], question, timeout=60) as response:
            page = response.read().decode()
        first, second = re.findall(r'<p class="translation" dir="auto">(.*?)</p>', page)
        assert first == second
        assert str(trained_run) in page
        assert str(exported_run) in page
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")


@contextlib.contextmanager
def served(*models):
    """The address of a page about models."""
    with web.listen("127.0.0.1", 0) as listener:
        server = web.make_server_for(models, listener)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield web.url_of(listener)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium: chromium and chromedriver are not on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument("--window-size=1200,1000")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which root cannot have
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def asked_hosts(browser):
    """Where the requests since the last look went, by the browser's own record."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return {urllib.parse.urlsplit(address).netloc for address in addresses} - {""}


def translate(browser, sentence, enter=False):
    """Types a sentence and waits for the answers; returns their sections."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    field = browser.find_element(By.ID, "sentence")
    field.clear()
    browser.execute_script(
        "for (const place of document.querySelectorAll('.answer')) place.replaceChildren()"
    )
    field.send_keys(f"{sentence}\n" if enter else sentence)
    if not enter:
        browser.find_element(By.ID, "translate").click()
    places = browser.find_elements(By.CLASS_NAME, "answer")
    WebDriverWait(browser, 60).until(
        lambda _: all(
            place.get_property("childElementCount") and not place.get_attribute("aria-busy")
            for place in places
        )
    )
    return places


def texts(place, selector):
    from selenium.webdriver.common.by import By

    return [element.text for element in place.find_elements(By.CSS_SELECTOR, selector)]


def unavailable():
    raise Failure("UNAVAILABLE", "the queue is full")


@pytest.mark.provided_by_ci
class TestBrowser:
    def test_two_models_side_by_side(self, browser, attending, plain):
        models = LocalModel("runs/attends", attending), LocalModel("runs/plain", plain)
        with served(*models) as address:
            browser.get(address)
            asked_hosts(browser)
            assert texts(browser, "h2") == ["runs/attends", "runs/plain"]
            for sentence, enter in (("I see you.", False), ("Go, you old friend!", True)):
                places = translate(browser, sentence, enter)
                for place, model in zip(places, (attending, plain), strict=True):
                    assert texts(place, ".translation") == model.translate([sentence])
                    size = model.beam_size
                    [expected] = model.translate([sentence], beam=size, n_best=size)
                    assert texts(place, ".candidates .text") == expected
                    latencies = texts(place, ".latency")
                    assert len(latencies) == 2
                    assert all(re.fullmatch(r"[\d.,]+ ms", text) for text in latencies)
            left, right = places
            assert left.location["y"] == right.location["y"]
            assert left.location["x"] + left.size["width"] < right.location["x"]
            assert texts(left, ".attention thead th") == ["go", ",", "you", "old", "friend", "!"]
            rows = texts(left, ".attention tbody th")
            assert " ".join(rows).removesuffix(" <eos>") == texts(left, ".translation")[0]
            assert "no attention" in texts(right, ".note")[0]
            # The picture: the more attention, the more colour.
            cells = left.find_elements("css selector", ".attention tbody td")
            assert len(cells) == 6 * len(rows)
            opacity = [
                float(re.findall(r"[\d.]+", cell.value_of_css_property("background-color"))[3])
                if cell.value_of_css_property("background-color").startswith("rgba")
                else 1.0
                for cell in cells
            ]
            by_weight = sorted(zip((int(cell.text) for cell in cells), opacity, strict=True))
            assert [shade for _, shade in by_weight] == sorted(opacity)
            assert max(opacity) > 2 * min(opacity)
            assert asked_hosts(browser) == {urllib.parse.urlsplit(address).netloc}
            assert browser.get_log("browser") == []

    def test_odd_sentences_and_errors(self, browser, attending, attending_export):
        with SavedModelSession(attending_export) as session:
            for signature in ("serving_default", "beam", "explain"):
                session.run(signature, text=[b"Go."])  # the first time takes longest
            models = Models("en-fr", {3: session}, {})
            server, location = start_rest(models)
            try:
                model = connect(f"http://{location}/v1/models/en-fr")
                with contextlib.closing(model), served(model) as address:
                    browser.get(address)
                    sentence = "<i id=injected>you</i> & 'see'"
                    [place] = translate(browser, sentence)
                    assert texts(place, ".translation") == attending.translate([sentence])
                    assert texts(place, ".attention thead th")[0] == "<i"
                    assert not browser.find_elements("id", "injected")
                    assert texts(place, ".version") == ["3"]
                    [place] = translate(browser, "")
                    assert texts(place, ".error")[0].startswith("There is nothing to translate")
                    models.troubles += [unavailable] * 2
                    [place] = translate(browser, "Go.")
                    [line] = texts(place, ".error")
                    assert f"{location}: the queue is full" in line
                    assert "check that it runs" in line
                    assert browser.get_log("browser") == []
                [place] = translate(browser, "Go.")
                assert "keras-s2s web" in texts(place, ".error")[0]
                assert asked_hosts(browser) == {urllib.parse.urlsplit(address).netloc}
            finally:
                server.shutdown()
                server.server_close()

    def test_a_narrow_window_and_no_script(self, browser, attending):
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        with served(LocalModel("a", attending), LocalModel("b", attending)) as address:
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
            browser.set_window_size(500, 900)
            try:
                browser.get(address)
                browser.find_element("id", "sentence").send_keys("I see you.")
                browser.find_element("id", "translate").click()
                # Without the script the answer is another page, which takes its time to come.
                wait = WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException])
                wait.until(lambda browser: len(texts(browser, ".translation")) == 2)
                assert texts(browser, ".translation") == attending.translate(["I see you."]) * 2
                first, second = browser.find_elements("class name", "answer")
                assert first.location["x"] == second.location["x"]
                field = browser.find_element("id", "sentence")
                assert field.get_property("value") == "I see you."
            finally:
                browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
                browser.set_window_size(1200, 1000)

    def test_rows_keep_their_names_when_the_picture_is_scrolled(self, browser, attending):
        with served(LocalModel("a", attending)) as address:
            browser.get(address)
            [answer] = translate(browser, "Go, you old friend!")
            place = answer.find_element("css selector", ".scroll")
            browser.execute_script("arguments[0].style.width = '8rem'", place)
            name = place.find_element("css selector", "tbody th")
            before = name.rect["x"]
            browser.execute_script("arguments[0].scrollLeft = 60", place)
            assert browser.execute_script("return arguments[0].scrollLeft", place) == 60
            assert name.rect["x"] == before
