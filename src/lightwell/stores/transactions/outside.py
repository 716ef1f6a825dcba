"""Asks whoever may take long to answer, such as a key service, outside of write transactions.

While one is open, nobody else writes on SQLite, and rows are locked on PostgreSQL. So what `ask` is given
inside of one is not asked there: the transaction is given up, the question asked, and the transaction begun
anew, in which `ask` then has the answer at once. Whoever asks need not know whether there is a transaction,
and whoever writes need not know what will be asked. To have asked before, as `KeyRing.prepare` does, spares
the first try.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from lightwell.observe.logs import event

T = TypeVar("T")
Item = TypeVar("Item")
Question = tuple[Hashable, Callable[[], Any]]
"""What stands for a question in one transaction, and what asks it without its connection."""

_MOST_ROUNDS = 100
"""So often one transaction is begun anew. Each time it has an answer that was missing, so that only what asks
for something else each time comes here."""

_log = logging.getLogger(__name__)
_here = threading.local()
is_strict = False
"""Whether to ask inside of a transaction all the same is an error, as it is in tests. Else it is logged once:
that somebody waits is better than that nothing can be stored."""
_has_told = False


class BeginAnew(BaseException):
    """The transaction cannot go on before these questions are answered.

    No `Exception`: what handles failures within a transaction, and records them there, has to let it pass.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        super().__init__()
        self.questions = questions


class Tries(Generic[T]):
    """The tries of one `Database.write`, and what was answered between them. ``attempt`` is one of them."""

    def __init__(self, attempt: Callable[[], T]) -> None:
        self._attempt = attempt
        self._answers: dict[Hashable, Future[Any]] = {}
        self._rounds = 0

    def run(self, call: Callable[[], T]) -> T:
        """Have ``call`` call `attempt`, in whichever thread, until nothing is left to ask."""
        try:
            return self._until_done(call)
        finally:
            # Keys may be among them.
            self._answers.clear()

    def _until_done(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except BeginAnew as given_up:
                questions = given_up.questions
            self._rounds += 1
            for about, question in questions:
                if about in self._answers:
                    continue
                # No local name has it: it would hold what failed, whose traceback holds this frame.
                self._answers[about] = Future[Any]()
                try:
                    self._answers[about].set_result(question())
                except Exception as error:
                    # It is raised where it was asked. What was to be asked besides may need no answer then.
                    self._answers[about].set_exception(error)
                    break

    def attempt(self) -> T:
        """One try, in this thread."""
        before, _here.tries = _tries(), self
        try:
            return self._attempt()
        finally:
            _here.tries = before

    @property
    def may_begin_anew(self) -> bool:
        """Whether the transaction may be given up for a question."""
        return self._rounds < _MOST_ROUNDS

    def answer(self, about: Hashable, question: Callable[[], T]) -> T:
        """See `ask`."""
        if about in self._answers:
            known: T = self._answers[about].result()
            return known
        if self.may_begin_anew:
            raise BeginAnew([(about, question)])
        _tell()
        return question()


def ask(about: Hashable, question: Callable[[], T]) -> T:
    """What ``question`` returns or raises. In a write transaction it is asked before that begins anew, once
    for all that is the same ``about``; so it must not use the connection.
    """
    tries = _tries()
    return question() if tries is None else tries.answer(about, question)


def first_of(
    first: Item,
    others: Callable[[], Iterable[Item]],
    call: Callable[[Item], T],
    *,
    passing: tuple[type[Exception], ...],
) -> T:
    """What ``call`` returns for the first one. Has that to `ask`, what the others have to is asked with it.

    Whatever of ``passing`` they raise is of those who need them; they are looked for only then.
    """
    try:
        return call(first)
    except BeginAnew as given_up:
        questions = list(given_up.questions)
    for item in others():
        try:
            call(item)
        except BeginAnew as given_up:
            questions += given_up.questions
        except passing:
            pass
    raise BeginAnew(questions)


def together(items: Iterable[Item], call: Callable[[Item], T]) -> list[T]:
    """What ``call`` returns for each; what all of them have to `ask` is asked in one go."""
    found: list[T] = []
    questions: list[Question] = []
    for item in items:
        try:
            found.append(call(item))
        except BeginAnew as given_up:
            questions += given_up.questions
    if questions:
        raise BeginAnew(questions)
    return found


def is_inside() -> bool:
    """Whether this thread is in a write transaction."""
    return _tries() is not None


def may_begin_anew() -> bool:
    """Whether this thread is in a write transaction that can be given up for a question."""
    tries = _tries()
    return tries is not None and tries.may_begin_anew


def _tries() -> Tries[Any] | None:
    found: Tries[Any] | None = getattr(_here, "tries", None)
    return found


def _tell() -> None:
    global _has_told
    if is_strict:
        raise AssertionError("a key provider, or the like, is asked while a write transaction is open")
    if not _has_told:
        _has_told = True
        event(_log, logging.WARNING, "asked_in_transaction")
