"""Web page of `keras-s2s web`: requests to the application, and a real browser."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest
from imitation_server import Models, StatusError, start_rest

from keras_s2s.cli.web.models import Candidate, LocalModel, TranslationResult, connect
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.report import ReportData, write_report
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.errors import InputError, ServerError

flask = pytest.importorskip("flask", reason="needs Flask: pip install 'keras-s2s[web]'")
pytest.importorskip("waitress", reason="needs Waitress: pip install 'keras-s2s[web]'")
from keras_s2s.cli.web import app as web  # noqa: E402
from keras_s2s.cli.web import server  # noqa: E402

ODD = "<script>alert(1)</script> & \"you\" 'see' 🙂 \u202eyou\0"


@pytest.fixture
def client(attending, plain):
    """A test client of the page of two models."""
    models = [LocalModel("runs/attends", attending), LocalModel("<runs> & plain", plain)]
    return web.make_app(models).test_client()


def test_columns(attending):
    def page(**attributes):
        model = SimpleNamespace(name="verbs", location="here", **attributes)
        return web.make_app([model]).test_client().get("/").text

    assert "Columns: source ⇥ features." in page(columns=("source", "features"))
    assert 'aria-describedby="columns"' in page(columns=("source", "features"))
    for attributes in ({}, {"columns": ()}):
        assert "columns" not in page(**attributes)
    assert LocalModel("words", attending).columns == ()


def failing(error):
    def translate(sentence):
        raise error

    model = SimpleNamespace(name="broken", location="nowhere", translate=translate)
    return web.make_app([model]).test_client()


@contextlib.contextmanager
def served(*models, host="127.0.0.1"):
    """Yields the URL of a served page."""
    with server.listen(host, 0) as listener:
        page = server.PageServer(web.make_app(models), listener)
        thread = threading.Thread(target=page.serve_forever)
        thread.start()
        try:
            yield server.page_url(listener)
        finally:
            page.shutdown()
            thread.join()


class TestPage:
    def test_page_without_results(self, client):
        response = client.get("/")
        assert response.status_code == 200
        page = response.get_data(as_text=True)
        assert "&lt;runs&gt; &amp; plain" in page
        assert page.count("<section") == 2
        assert len(re.findall(r'data-url="[^"]*">\s*</div>', page)) == 2

    def test_results_without_the_script(self, client, plain, attending):
        page = client.post("/", data={"sentence": "I see you."}).get_data(as_text=True)
        for model in (plain, attending):
            [greedy] = model.translate(["I see you."])
            [best] = model.translate(["I see you."], beam=model.beam_size)
            assert f'<p class="greedy" dir="auto">{greedy}</p>' in page
            assert f'<p class="translation" dir="auto">{best}</p>' in page
        assert page.count('<table class="candidates">') == 2
        assert page.count('<table class="attention">') == 1
        assert page.count("The model has no attention") == 1
        assert len(re.findall(r'class="latency">[\d.,]+ ms<', page)) == 4
        assert ">\nI see you.</textarea>" in page

    def test_result_fragment(self, client, attending):
        fragment = client.post("/translations/0", data={"sentence": "Go."}).get_data(as_text=True)
        size = attending.beam_size
        [texts], [scores] = attending.translate(["Go."], beam=size, n_best=size, return_scores=True)
        rows = re.findall(r"<td>(\d)</td><td.*?>(.*?)</td><td>−([\d.]+)</td>", fragment)
        assert rows == [
            (str(rank), text.replace("'", "&#39;"), f"{-score:.3f}")
            for rank, (text, score) in enumerate(zip(texts, scores, strict=True), 1)
        ]
        assert "<html" not in fragment
        assert client.post("/translations/2", data={"sentence": "Go."}).status_code == 404

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

    def test_headline_is_the_best_hypothesis(self):
        candidates = [Candidate("va <unk> !", -0.5), Candidate("<b>", -0.75)]
        result = TranslationResult("pars !", -1.25, 2.0, candidates, 3.0, None)
        model = SimpleNamespace(name="m", location="here", translate=lambda sentence: result)
        client = web.make_app([model]).test_client()
        page = client.post("/", data={"sentence": "Go."}).get_data(as_text=True)
        mark = '<mark title="a word outside the vocabulary">&lt;unk&gt;</mark>'
        assert f'<p class="translation" dir="auto">va {mark} !</p>' in page
        assert f"{mark} is a word outside the vocabulary" in page
        assert "greedy search gives another translation" in page
        assert '<p class="greedy" dir="auto">pars !</p>' in page
        assert '<span class="score">−1.250</span> nats: of the whole sentence' in page
        assert "&lt;b&gt;</td><td>−0.750</td>" in page
        without = dataclasses.replace(result, translation="va !", candidates=None)
        model.translate = lambda sentence: without
        page = client.post("/", data={"sentence": "Go."}).get_data(as_text=True)
        assert '<p class="translation" dir="auto">va !</p>' in page
        assert "outside the vocabulary" not in page

    def test_what_the_answer_is_worth(self, attending):
        client = web.make_app([LocalModel("attends", attending)]).test_client()
        page = client.post("/", data={"sentence": "Go zzxxqq."}).get_data(as_text=True)
        assert "does not know 1 of the source" in page
        assert page.count('<mark title="unknown to the model">') == 1
        [answer] = attending.answers(["Go zzxxqq."])
        assert f'<span class="confidence">{web.percent(answer.confidence)}' in (
            page.replace("&lt;", "<")
        )
        assert page.count('class="probability"') == page.count('<tr><th scope="row">')

    @pytest.mark.parametrize("sentence", ["", " \r\n\t"])
    def test_empty_sentence(self, sentence, client):
        page = client.post("/", data={"sentence": sentence}).get_data(as_text=True)
        assert page.count("Nothing to translate") == 2

    @pytest.mark.parametrize("size", [web.MAX_CHARACTERS + 1, 10 * web.MAX_REQUEST_BYTES])
    def test_text_that_is_too_long(self, size, client):
        response = client.post("/translations/0", data={"sentence": "a" * size})
        fragment = response.get_data(as_text=True)
        assert "characters; give at most 10,000" in fragment
        assert len(fragment) < 500

    def test_all_content_is_local(self, client):
        for path, content_type in (
            ("/", "text/html"),
            ("/files/page.css", "text/css"),
            ("/palette.css", "text/css"),
            ("/files/page.js", "text/javascript"),
        ):
            response = client.get(path)
            assert response.status_code == 200
            assert response.content_type.startswith(content_type)
            assert "://" not in response.get_data(as_text=True)
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none';")
            assert "http" not in policy
            response.close()


class TestAccess:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost:7860",
            "LOCALHOST",
            "127.0.0.1:7860",
            "[::1]:7860",
            "[::1]",
            "192.0.2.7",
            "box",
        ],
    )
    @pytest.mark.parametrize("path", ["/", "/files/page.css"])
    def test_trusted_hosts(self, path, host):
        client = web.make_app([], ["localhost", "Box"]).test_client()
        with client.get(path, headers={"Host": host}) as response:
            assert response.status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "example.org",
            "example.org:7860",
            "localhost.example.org",
            "[::1",
            "",
            "1.2.3.4.org",
            "::1",
        ],
    )
    @pytest.mark.parametrize("path", ["/", "/files/page.css"])
    def test_other_hosts_are_refused(self, path, host):
        client = web.make_app([], ["localhost"]).test_client()
        response = client.get(path, headers={"Host": host})
        assert response.status_code == 400
        assert "open the page by an IP address" in response.get_data(as_text=True)

    @pytest.mark.parametrize("path", ["/", "/translations/0"])
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://example.org"},
            {"Origin": "null"},
            {"Origin": "http://localhost:9000"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:7860"},
        ],
    )
    def test_posts_of_other_sites_cost_no_work(self, headers, path):
        sentences = []
        model = SimpleNamespace(name="counts", location="here", translate=sentences.append)
        client = web.make_app([model]).test_client()
        headers |= {"Host": "localhost:7860"}
        response = client.post(path, data={"sentence": "Go."}, headers=headers)
        assert response.status_code == 403
        assert sentences == []

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://localhost:7860", "Sec-Fetch-Site": "same-origin"},
            {"Origin": "http://localhost:7860"},
            {"Sec-Fetch-Site": "none"},
            {},
        ],
    )
    def test_own_posts(self, headers, client):
        headers |= {"Host": "localhost:7860"}
        assert client.post("/", data={"sentence": "Go."}, headers=headers).status_code == 200

    @pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0", "localhost"])
    def test_addresses(self, host):
        if ":" in host:
            try:
                socket.create_server(("::1", 0), family=socket.AF_INET6).close()
            except OSError:
                pytest.skip("no IPv6 on this machine")
        with served(host=host) as address:
            with urllib.request.urlopen(address, timeout=60) as response:
                assert response.status == 200
            other_site = urllib.request.Request(address, headers={"Host": "example.org"})
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(other_site, timeout=60)

    def test_idle_connections_hold_no_threads(self):
        threads = threading.active_count()
        with served() as address, contextlib.ExitStack() as stack:
            location = urllib.parse.urlsplit(address)
            for _ in range(200):
                connection = socket.create_connection((location.hostname, location.port))
                stack.enter_context(connection).sendall(b"GET / HTTP/1.1\r\n")
            with urllib.request.urlopen(address, timeout=60) as response:
                assert response.status == 200
            # The server's own thread, and those that answer.
            assert threading.active_count() <= threads + 1 + server.NUM_THREADS

    def test_idle_connections_make_room(self, monkeypatch):
        monkeypatch.setattr(server, "MAX_CONNECTIONS", 8)
        monkeypatch.setattr(server, "IDLE_SECONDS", 1)
        with served() as address, contextlib.ExitStack() as stack:
            location = urllib.parse.urlsplit(address)
            for _ in range(20):
                connection = socket.create_connection((location.hostname, location.port))
                stack.enter_context(connection)
            with urllib.request.urlopen(address, timeout=60) as response:
                assert response.status == 200

    def test_a_body_that_is_too_large_is_not_read(self):
        with served() as address:
            location = urllib.parse.urlsplit(address)
            with socket.create_connection((location.hostname, location.port)) as connection:
                connection.sendall(
                    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
                )
                assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 413 ")


class TestErrors:
    @pytest.mark.parametrize(
        "error", [InputError("a < b;\ngive c"), ServerError("a < b;\ngive c", "X")]
    )
    def test_expected_errors(self, error, caplog):
        response = failing(error).post("/", data={"sentence": "Go."})
        assert response.status_code == 200
        assert '<p class="error" role="alert">a &lt; b; give c</p>' in response.get_data(
            as_text=True
        )
        assert not caplog.records

    def test_unexpected_errors_are_logged(self, caplog):
        page = failing(ZeroDivisionError("by zero\nmore")).post("/", data={"sentence": "Go."})
        text = page.get_data(as_text=True)
        assert "The model failed (ZeroDivisionError: by zero)" in text
        assert "Traceback" not in text
        assert caplog.records[0].exc_info[0] is ZeroDivisionError


class TestAddress:
    def test_port_in_use(self, refused, trained_run):
        with server.listen("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
            line = refused("web", trained_run, "--port", port)
        assert f"port {port} of 127.0.0.1" in line
        assert "Address already in use" in line

    @pytest.mark.parametrize(
        ("host", "port", "message"),
        [
            ("127.0.0.1", 65536, "--port is 65536"),
            ("127.0.0.1", -1, "--port is -1"),
            ("no.such.host.invalid", 0, "--host is 'no.such.host.invalid'"),
            ("192.0.2.1", 0, "as --host"),
        ],
    )
    def test_invalid_addresses(self, host, port, message, refused, trained_run):
        assert message in refused("web", trained_run, "--host", host, "--port", port)

    def test_loopback_and_url(self):
        with server.listen("localhost", 0) as listener:
            assert server.is_loopback(listener)
            assert server.page_url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with server.listen("0.0.0.0", 0) as listener:
            assert not server.is_loopback(listener)
            # Not every browser opens 0.0.0.0.
            assert server.page_url(listener).startswith("http://127.0.0.1:")


def test_without_the_extra(refused, trained_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "flask", None)
    monkeypatch.delitem(sys.modules, "keras_s2s.cli.web.app")
    monkeypatch.delattr("keras_s2s.cli.web.app")
    line = refused("web", trained_run)
    assert line.startswith("the page needs packages that are not installed (")
    assert line.endswith("pip install 'keras-s2s[web]'")


def test_missing_models(refused, trained_run, tmp_path):
    assert "no such file or folder" in refused("web", tmp_path / "none", "--port", 0)
    assert "no such file or folder" in refused("web", trained_run, tmp_path / "none", "--port", 0)
    address = "http://localhost/en-fr"
    assert "http://localhost/en-fr: not the URL" in refused(
        "web", address, trained_run, "--port", 0
    )
    assert "unknown argument" in refused("web", "a", "b", "--port", 0, "c")


@pytest.mark.usefixtures("ctrl_c")
def test_command(trained_run, exported_run):
    command = [sys.executable, "-m", "keras_s2s", "web", trained_run, "--port", "0", exported_run]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        message = process.stderr.readline()
        address = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/) .*Ctrl-C.*\n", message)
        assert address, message
        form = urllib.parse.urlencode({"sentence": "Go."}).encode()
        with urllib.request.urlopen(address[1], form, timeout=60) as response:
            page = response.read().decode()
        first, second = re.findall(r'<p class="greedy" dir="auto">(.*?)</p>', page)
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
        options.add_argument("--no-sandbox")  # not available to root
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def requested_hosts(browser):
    """Return the hosts of all requests since the last call, from the browser's log."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return {urllib.parse.urlsplit(address).netloc for address in addresses} - {""}


def translate(browser, sentence, enter=False):
    """Type a sentence, wait for the results, and return their elements."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    field = browser.find_element(By.ID, "sentence")
    field.clear()
    browser.execute_script(
        "for (const element of document.querySelectorAll('.result')) element.replaceChildren()"
    )
    field.send_keys(f"{sentence}\n" if enter else sentence)
    if not enter:
        browser.find_element(By.ID, "translate").click()
    results = browser.find_elements(By.CLASS_NAME, "result")
    WebDriverWait(browser, 60).until(
        lambda _: all(
            result.get_property("childElementCount") and not result.get_attribute("aria-busy")
            for result in results
        )
    )
    return results


def texts(result, selector):
    from selenium.webdriver.common.by import By

    return [element.text for element in result.find_elements(By.CSS_SELECTOR, selector)]


def unavailable():
    raise StatusError("UNAVAILABLE", "the queue is full")


@pytest.mark.provided_by_ci
class TestBrowser:
    def test_two_models_side_by_side(self, browser, attending, plain):
        models = LocalModel("runs/attends", attending), LocalModel("runs/plain", plain)
        with served(*models) as address:
            browser.get(address)
            requested_hosts(browser)
            assert texts(browser, "h2") == ["runs/attends", "runs/plain"]
            for sentence, enter in (("I see you.", False), ("Go, you old friend!", True)):
                results = translate(browser, sentence, enter)
                for result, model in zip(results, (attending, plain), strict=True):
                    assert texts(result, ".greedy") == model.translate([sentence])
                    size = model.beam_size
                    [expected] = model.translate([sentence], beam=size, n_best=size)
                    assert texts(result, ".candidates .text") == expected
                    assert texts(result, ".translation") == expected[:1]
                    latencies = texts(result, ".latency")
                    assert len(latencies) == 2
                    assert all(re.fullmatch(r"[\d.,]+ ms", text) for text in latencies)
            left, right = results
            assert left.location["y"] == right.location["y"]
            assert left.location["x"] + left.size["width"] < right.location["x"]
            assert texts(left, ".attention .token") == ["go", ",", "you", "old", "friend", "!"]
            rows = texts(left, ".attention tbody th")
            assert " ".join(rows).removesuffix(" <eos>") == texts(left, ".greedy")[0]
            assert "no attention" in texts(right, ".note")[-1]
            # More weight is more opaque.
            cells = left.find_elements("css selector", ".attention tbody td:not(.probability)")
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
            assert requested_hosts(browser) == {urllib.parse.urlsplit(address).netloc}
            assert browser.get_log("browser") == []

    def test_special_characters_and_errors(self, browser, attending, sessions):
        models = Models("en-fr", {3: sessions[2]}, {})
        rest, location = start_rest(models)
        try:
            model = connect(f"http://{location}/v1/models/en-fr")
            with contextlib.closing(model), served(model) as address:
                browser.get(address)
                sentence = "<i id=injected>you</i> & 'see'"
                [result] = translate(browser, sentence)
                assert texts(result, ".greedy") == attending.translate([sentence])
                assert texts(result, ".attention .token")[0] == "<i"
                assert not browser.find_elements("id", "injected")
                assert texts(result, ".version") == ["3"]
                [result] = translate(browser, "")
                assert texts(result, ".error")[0].startswith("Nothing to translate")
                models.faults += [unavailable] * 2
                [result] = translate(browser, "Go.")
                [line] = texts(result, ".error")
                assert f"{location}: the queue is full" in line
                assert "check that it runs" in line
                assert browser.get_log("browser") == []
            [result] = translate(browser, "Go.")
            assert "keras-s2s web" in texts(result, ".error")[0]
            assert requested_hosts(browser) == {urllib.parse.urlsplit(address).netloc}
        finally:
            rest.shutdown()
            rest.server_close()

    def test_narrow_window_without_script(self, browser, attending):
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        with served(LocalModel("a", attending), LocalModel("b", attending)) as address:
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
            browser.set_window_size(500, 900)
            try:
                browser.get(address)
                browser.find_element("id", "sentence").send_keys("I see you.")
                browser.find_element("id", "translate").click()
                # Without the script the results come with a reload of the page.
                wait = WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException])
                wait.until(lambda browser: len(texts(browser, ".greedy")) == 2)
                assert texts(browser, ".greedy") == attending.translate(["I see you."]) * 2
                first, second = browser.find_elements("class name", "result")
                assert first.location["x"] == second.location["x"]
                field = browser.find_element("id", "sentence")
                assert field.get_property("value") == "I see you."
            finally:
                browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
                browser.set_window_size(1200, 1000)

    def test_row_headers_stay_visible_when_scrolled(self, browser, attending):
        with served(LocalModel("a", attending)) as address:
            browser.get(address)
            [result] = translate(browser, "Go, you old friend!")
            scrollable = result.find_element("css selector", ".scroll")
            browser.execute_script("arguments[0].style.width = '8rem'", scrollable)
            name = scrollable.find_element("css selector", "tbody th")
            before = name.rect["x"]
            browser.execute_script("arguments[0].scrollLeft = 60", scrollable)
            assert browser.execute_script("return arguments[0].scrollLeft", scrollable) == 60
            assert name.rect["x"] == before

    def test_nothing_is_cut_off_on_a_phone(self, browser, attending, trained_run, tmp_path):
        words = ["word", "international", "x"] * 6
        weights = [[1 / len(words)] * len(words)] * len(words)
        data = ReportData(
            "5 sentences",
            {"BLEU": "12.2  (nrefs:var|case:lc|eff:no|tok:13a|smooth:exp|version:2.6.0)"},
            attention_maps=[AttentionMap(words, words, weights)],
        )
        report = write_report(RunDirectory(trained_run), tmp_path / "report.html", data)
        size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            with served(LocalModel("a", attending)) as address:
                for page, scrolls in ((address, ".scroll"), (report.as_uri(), ".wide")):
                    browser.get(page)
                    if page == address:
                        translate(browser, "Go, you old friend! " * 3)
                    width = "return document.documentElement.scrollWidth"
                    assert browser.execute_script(width) == 390
                    # What is wider scrolls, and its edge is shaded.
                    wide = browser.find_elements("css selector", scrolls)[-1]
                    assert wide.get_property("scrollWidth") > wide.get_property("clientWidth")
                    assert wide.value_of_css_property("background-image").count("gradient") == 4
            sizes = browser.execute_script(
                "return [...document.querySelectorAll('svg text')].map("
                "text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"
            )
            assert sizes
            assert min(sizes) >= 10
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
