"""A made-up task: dates as people write them, to year-month-day, character by character."""

import calendar
import datetime
import random

import keras_s2s as s2s


def written(date, choice):
    """A date in one of many ways."""
    month, weekday = calendar.month_name[date.month], calendar.day_name[date.weekday()]
    day, year = date.day, date.year
    ordinal = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return choice.choice(
        [
            f"{day} {month} {year}",
            f"{month} {day}, {year}",
            f"{weekday}, {day} {month} {year}",
            f"{weekday} the {day}{ordinal} of {month} {year}",
            f"{month[:3]} {day} {year}",
            f"{day} {month[:3]} {year}",
            f"{weekday[:3]} {month} {day}{ordinal}, {year}",
            f"{day}.{date.month}.{year}",
            f"{day:02}/{date.month:02}/{year}",
        ]
    )


def spaced(text):
    """Each character a word; `_` is a space, and what the tokenizer moves is spelled out."""
    names = {" ": "_", ",": "comma", ".": "dot"}
    return " ".join(names.get(sign, sign) for sign in text.lower())


def date_corpus(size, seed):
    """Pairs of dates from 1000 to 2999, no date twice."""
    choice = random.Random(seed)
    first, last = datetime.date(1000, 1, 1).toordinal(), datetime.date(2999, 12, 31).toordinal()
    dates = [datetime.date.fromordinal(day) for day in choice.sample(range(first, last), size)]
    return s2s.ParallelCorpus(
        [spaced(written(date, choice)) for date in dates],
        [spaced(date.isoformat()) for date in dates],
        name="dates",
    )
