"""A synthetic task: dates in many formats to ISO format, character by character."""

import calendar
import datetime
import random

import keras_s2s as s2s


def format_date(date, rng):
    """Format a date in a random way."""
    month, weekday = calendar.month_name[date.month], calendar.day_name[date.weekday()]
    day, year = date.day, date.year
    ordinal = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return rng.choice(
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


def split_characters(text):
    """Make each character a word: `_` for a space, and names for punctuation."""
    names = {" ": "_", ",": "comma", ".": "dot"}
    return " ".join(names.get(character, character) for character in text.lower())


def date_corpus(size, seed):
    """Make a corpus of distinct dates from 1000 to 2999."""
    rng = random.Random(seed)
    first, last = datetime.date(1000, 1, 1).toordinal(), datetime.date(2999, 12, 31).toordinal()
    dates = [datetime.date.fromordinal(day) for day in rng.sample(range(first, last), size)]
    return s2s.ParallelCorpus(
        [split_characters(format_date(date, rng)) for date in dates],
        [split_characters(date.isoformat()) for date in dates],
        name="dates",
    )
