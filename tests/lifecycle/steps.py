"""Random steps through the life of image sets, made on the real thing and on the model, and compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from tests.lifecycle import changes, copies, files, native, requests
from tests.lifecycle.check import Checker, lines
from tests.lifecycle.clients import Refused, Service, collect
from tests.lifecycle.model import ImageSet, Model
from tests.lifecycle.native import OriginalInstance
from tests.support import invariants

STALE = "Requested version(s) of ImageSet(s) is not the latest."
NOT_FOUND = "ResourceNotFoundException"

#: How often each step is taken by `RandomWalk.step`.
WEIGHTS = {
    "import_files": 4,
    "update": 8,
    "revert": 3,
    "copy": 6,
    "promote": 2,
    "delete": 1,
    "collect": 1,
    "read": 1,
}
_MANY = 14


class RandomWalk:
    """One run. Each step method takes its decisions from ``chance``; `step` takes any of them."""

    def __init__(self, service: Service, note: Callable[[str], None] = lambda text: None) -> None:
        self.service = service
        self.model = Model()
        self.checker = Checker(service, self.model)
        self.steps = 0
        self._note = note
        self._number = 1

    def step(self, chance: Random) -> None:
        (name,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        getattr(self, name)(chance)

    # Steps -----------------------------------------------------------------------------------------------

    def import_files(self, chance: Random) -> None:
        """Import some files by one job."""
        given = files.batch(chance, self._number)
        self._number += len(given)
        original = {name: native.original(data) for name, data in sorted(given.items())}
        self._say("import", {name: f"{one.uid} #{one.number}" for name, one in original.items()})
        output = self.service.import_files(given)
        self.imported(original, output)

    def imported(self, original: Mapping[str, OriginalInstance], output: str) -> None:
        """Hold what a job has told of its files against the model's opinion."""
        told = {
            line["inputFile"].rpartition("/")[2]: line["importResponse"]
            for line in lines(self.service, output)
        }
        assert told.keys() == original.keys()
        ids = {id(one): told[name]["imageSetId"] for name, one in original.items()}

        def choose(one: OriginalInstance, candidates: Sequence[ImageSet]) -> ImageSet:
            return next(each for each in candidates if each.id == ids[id(one)])

        places = self.model.import_files(list(original.values()), choose)
        for name, place in zip(original, places, strict=True):
            answer = told[name]
            place.id = place.id or answer["imageSetId"]
            expected = {
                "imageSetId": place.id,
                "imageSetVersion": place.number,
                "isPrimary": place.is_primary,
            }
            assert answer == expected
        self._over(places)

    def update(self, chance: Random) -> None:
        target = self._pick(chance)
        if target is None:
            return
        change = requests.change(chance, self.model, target)
        number = self._version(chance, target)
        expected = NOT_FOUND if number != target.number else changes.refusal(target, change)
        blobs = {"removableAttributes": change.removed, "updatableAttributes": change.updated}
        series = target.existing.value("SeriesInstanceUID")
        members = {name: part.blob(series) for name, part in blobs.items() if part.blob(series)}
        if not members:
            return
        self._say("update", target, change, expected)
        answer = self._call(
            expected,
            "UpdateImageSetMetadata",
            imageSetId=target.id,
            latestVersionId=str(number),
            updateImageSetMetadataUpdates={"DICOMUpdates": members},
            **_flags(force=change.force, includeStudyImageSets=change.study_wide),
        )
        if answer is None:
            return self._over([target])
        touched = changes.update(self.model, target, change)
        self._updated(target, answer)
        self._over(touched)

    def revert(self, chance: Random) -> None:
        target = self._pick(chance)
        if target is None:
            return
        version = chance.randint(1, target.number)
        if target.number > 2 and chance.random() < 0.9:
            version = chance.randint(1, target.number - 1)
        number, force = self._version(chance, target), chance.random() < 0.2
        refused = changes.revert_refusal(self.model, target, version)
        expected = NOT_FOUND if number != target.number else refused
        self._say("revert", target, version, expected)
        answer = self._call(
            expected,
            "UpdateImageSetMetadata",
            imageSetId=target.id,
            latestVersionId=str(number),
            updateImageSetMetadataUpdates={"revertToVersionId": str(version)},
            **_flags(force=force),
        )
        if answer is not None:
            changes.revert(target, version, force=force)
            self._updated(target, answer)
        self._over([target])

    def copy(self, chance: Random) -> None:
        source = self._pick(chance)
        if source is not None:
            self._copy(chance, requests.copy(chance, self.model, source))

    def promote(self, chance: Random) -> None:
        source = self._pick(chance, primary=chance.random() < 0.1)
        if source is not None:
            self._copy(chance, copies.Copy(source, promote=True))

    def _copy(self, chance: Random, request: copies.Copy) -> None:
        if len(self.model.living) >= _MANY and request.destination is None:
            return
        source, destination = request.source, request.destination
        number = self._version(chance, source)
        expected = copies.refusal(request, stale=number != source.number)
        information: dict[str, Any] = {"sourceImageSet": {"latestVersionId": str(number)}}
        if destination is not None:
            information["destinationImageSet"] = {
                "imageSetId": destination.id,
                "latestVersionId": str(destination.number),
            }
        if request.only is not None:
            series = source.existing.value("SeriesInstanceUID")
            named: dict[str, Any] = {"Instances": {uid: {} for uid in request.only}}
            attributes = {"SchemaVersion": "1.1", "Study": {"Series": {series: named}}}
            information["sourceImageSet"]["DICOMCopies"] = {"copiableAttributes": json.dumps(attributes)}
        self._say("copy", request, expected)
        answer = self._call(
            expected,
            "CopyImageSet",
            sourceImageSetId=source.id,
            copyImageSetInformation=information,
            **_flags(force=request.force, promoteToPrimary=request.promote),
        )
        if answer is None:
            return self._over([source])
        made = copies.copy(self.model, request)
        told = answer["destinationImageSetProperties"]
        made.id = made.id or told["imageSetId"]
        for one, properties, status in (
            (source, answer["sourceImageSetProperties"], "COPYING_WITH_READ_ONLY_ACCESS"),
            (made, told, "COPYING"),
        ):
            assert (properties["imageSetId"], properties["latestVersionId"]) == (one.id, str(one.number))
            assert (properties["imageSetState"], properties["imageSetWorkflowStatus"]) == ("LOCKED", status)
        self._over([source, made])

    def delete(self, chance: Random) -> None:
        living = self.model.living
        if len(living) < 3 and chance.random() < 0.7:
            return
        target = chance.choice(self.model.sets) if self.model.sets else None
        if target is None:
            return
        expected = NOT_FOUND if target.deleted else None
        self._say("delete", target, expected)
        if self._call(expected, "DeleteImageSet", imageSetId=target.id) is not None:
            target.deleted = True
        self._over([target])

    def collect(self, chance: Random) -> None:
        self._say("collect")
        collect(self.service)
        self._over(self.model.sets if chance.random() < 0.2 else [])
        invariants.check_collected(self.service.stores)

    def read(self, chance: Random) -> None:
        """Any version of any set, and a search."""
        if self.model.sets:
            target = chance.choice(self.model.sets)
            self._say("read", target)
            self.checker.check(target, [chance.randint(1, target.number)])
        self.checker.search(chance)
        self._over([])

    # ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Compare every version of every set, with nothing cached, before and after a last collection."""
        for one in self.model.sets:
            self.checker.check(one, range(1, one.number + 1))
        self.checker.forget()
        collect(self.service)
        for one in self.model.sets:
            self.checker.check(one, range(1, one.number + 1))
            self.checker.check_files(one)
        invariants.check(self.service.stores, decode=True)
        invariants.check_collected(self.service.stores)

    def _over(self, touched: Sequence[ImageSet]) -> None:
        self.steps += 1
        for one in {id(one): one for one in touched}.values():
            self.checker.check(one, [one.number - 1, one.number])
        self.checker.search()
        invariants.check(self.service.stores)

    def _call(self, expected: str | None, operation: str, **members: Any) -> dict[str, Any] | None:
        """The answer; None where the call was refused, as it had to be."""
        try:
            answer = self.service.call(operation, **members)
        except Refused as error:
            assert error.code == expected, error
            if members.get("latestVersionId") and error.code == NOT_FOUND:
                assert error.message == STALE
            return None
        assert expected is None, f"{operation} was not refused with {expected}"
        return answer

    def _updated(self, target: ImageSet, answer: Mapping[str, Any]) -> None:
        assert (answer["imageSetId"], answer["latestVersionId"]) == (target.id, str(target.number))
        assert (answer["imageSetState"], answer["imageSetWorkflowStatus"]) == ("LOCKED", "UPDATING")

    def _pick(self, chance: Random, *, primary: bool | None = None) -> ImageSet | None:
        found = [one for one in self.model.readable() if primary is None or one.is_primary == primary]
        return chance.choice(found) if found else None

    def _version(self, chance: Random, target: ImageSet) -> int:
        """The latest, but for a few times."""
        return target.number if chance.random() < 0.96 else target.number + chance.choice((-1, 1, 1000))

    def _say(self, *what: Any) -> None:
        self._note(f"{self.steps + 1:3} " + " ".join(map(str, what)))


def _flags(**flags: bool) -> dict[str, bool]:
    return {name: True for name, value in flags.items() if value}
