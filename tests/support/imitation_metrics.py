"""The metrics page of the imitated server, and the selectors of PromQL queries on it."""

import collections
import re
import threading

PATH = "/monitoring/prometheus/metrics"
COUNT, LATENCY = ":tensorflow:serving:request_count", ":tensorflow:serving:request_latency"

_SAMPLE = re.compile(r"^([\w:]+)\{([^}]*)\} (\S+)$", re.MULTILINE)
_SELECTOR = re.compile(r"(:tensorflow:[\w:]+)(?:\{([^}]*)\})?")
_MATCHES = {
    "=": lambda value, given: value == given,
    "!=": lambda value, given: value != given,
    "=~": lambda value, given: re.fullmatch(given, value) is not None,
}


class Metrics:
    """Requests by model, API, entry point and status, counted as the server counts them.

    A status request by REST counts as a request without an API; the gRPC services count
    predictions only. The latency is that of requests that succeed.
    """

    def __init__(self) -> None:
        self._samples: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def record(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Count an answered request."""
        labels = f'model_name="{model}",API="{api}",entrypoint="{entrypoint}"'
        micros = round(seconds * 1e6)
        with self._lock:
            self._samples[f'{COUNT}{{model_name="{model}",status="{status}"}}'] += 1
            if status == "OK":
                for bound in [10 * 1.8**exponent for exponent in range(32)]:
                    self._samples[f'{LATENCY}_bucket{{{labels},le="{bound:g}"}}'] += micros <= bound
                self._samples[f'{LATENCY}_bucket{{{labels},le="+Inf"}}'] += 1
                self._samples[f"{LATENCY}_sum{{{labels}}}"] += micros
                self._samples[f"{LATENCY}_count{{{labels}}}"] += 1

    def page(self) -> str:
        """Return the page that Prometheus reads."""
        with self._lock:
            return "".join(f"{name} {value}\n" for name, value in self._samples.items())


def select(selector: str, page: str) -> float:
    """Sum the samples that a selector, such as `metric{label="value"}`, selects."""
    [(name, matchers)] = _SELECTOR.findall(selector)
    total = 0.0
    for sample, labels, value in _SAMPLE.findall(page):
        if sample == name:
            given = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            tests = re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers)
            if all(_MATCHES[op](given[label], wanted) for label, op, wanted in tests):
                total += float(value)
    return total


def evaluate(query: str, page: str) -> float:
    """Evaluate arithmetic over `sum(rate(SELECTOR[5m]))`, with totals in place of rates."""
    arithmetic = re.sub(
        r"sum\(rate\((.+?)\[\d+m\]\)\)", lambda found: str(select(found[1], page)), query
    )
    assert re.fullmatch(r"[\d.+\-*/() ]+", arithmetic), arithmetic
    return eval(arithmetic)


def selectors(query: str) -> list[str]:
    """Return the selectors of a query."""
    return [found.group() for found in _SELECTOR.finditer(query)]
