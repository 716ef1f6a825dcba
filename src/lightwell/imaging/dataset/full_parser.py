"""The careful lane: every data set that can be walked, turned into entries element by element.

Slow but complete: all uncompressed encodings, character sets that change inside of sequences, VRs that follow
from other elements (PS3.5 Annex A and PS3.3 C.11.1.1.1, C.7.6.3.1), UN, private dictionaries, values of any
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightwell.domain.image_sets.levels import INSTANCE
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import METADATA
from lightwell.errors import InputError
from lightwell.imaging.dataset import dicom_json, dictionary, values
from lightwell.imaging.dataset.character_sets import Charset, charset_of
from lightwell.imaging.dataset.dictionary import Attribute, attribute_of
from lightwell.imaging.dataset.element_scanner import ElementScanner, ElementSpan
from lightwell.imaging.dataset.parsed_element import (
    NEEDED,
    ParsedElement,
    listed_vr,
    needed_value,
    own_key,
    plain_element,
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What holds for the elements of one data set or item: some of it is inherited from around it."""

    charset: Charset
    creators: dict[int, str]  # private group and block → creator
    signed: bool
    one_value: bool  # the LUT of this item has a single value


class FullParser:
    """Turns places of one walk into entries."""

    def __init__(self, walker: ElementScanner) -> None:
        self._walker = walker
        self._bytes = 0

    def entries(self, places: Sequence[ElementSpan]) -> list[ParsedElement]:
        """Entries of the data set itself in tag order, without pixel elements and group lengths."""
        notes: list[Warning] = []
        ordered = in_order(places, notes)
        around = self._surroundings(ordered, None, notes)
        entries: list[ParsedElement] = []
        for place in ordered:
            if place.tag in dictionary.PIXEL_TAGS:
                continue
            attribute = attribute_of(place.tag)
            vrs: dict[bytes, bytes] = {}
            json, dicom = self._element(place, attribute, around, 0, vrs, notes, attribute.hex)
            needed = place.tag in NEEDED
            value = self._value(place, attribute, around) if needed else None
            self._count(json)
            level = attribute.level if own_key(attribute, json) else INSTANCE
            nested = len(vrs) > 1 or (bool(vrs) and not json.startswith(next(iter(vrs))))
            listed = tuple(vrs.values())
            entries.append(
                ParsedElement(place.tag, level, json, listed, tuple(notes), value, needed, nested, dicom)
            )
            notes.clear()
        return entries

    def _surroundings(
        self, places: Sequence[ElementSpan], outer: Surroundings | None, notes: list[Warning]
    ) -> Surroundings:
        charset = outer.charset if outer else charset_of(b"")
        signed = outer.signed if outer else False
        one_value = False
        private = []
        for place in places:
            if place.tag == dictionary.CHARSET:
                charset = charset_of(self._walker.read(place) if place.length < 4096 else b"?")
                if charset.unknown:
                    known = ", ".join(repr(term) for term in charset.unknown)[:200]
                    notes.append(
                        Warning("CoercionOfDataElements", f"SpecificCharacterSet: {known} is not understood")
                    )
            elif place.tag == dictionary.PIXEL_REPRESENTATION and place.length == 2:
                signed = any(self._walker.read(place))
            elif place.tag == dictionary.LUT_DESCRIPTOR and place.length >= 2:
                one_value = self._walker.read(place)[:2] == (b"\0\1" if place.form.big else b"\1\0")
            elif place.form.implicit and place.tag >> 16 & 1 and 0x10 <= place.tag & 0xFFFF <= 0xFF:
                private.append(place)
        creators = {
            place.tag: charset.decode(self._walker.read(place))[0].strip(" \0")
            for place in private
            if place.length <= 256
        }
        return Surroundings(charset, creators, signed, one_value)

    def _element(
        self,
        place: ElementSpan,
        attribute: Attribute,
        around: Surroundings,
        depth: int,
        vrs: dict[bytes, bytes],
        notes: list[Warning],
        path: str,
    ) -> tuple[bytes, bytes]:
        """``"key":value`` of one element, and its text in the DICOM JSON Model. ``path`` ends with it."""
        vr = vr_of(place, attribute, around)
        if vr == "SQ":
            if place.undefined or place.vr == "SQ" or (not place.vr and not attribute.private):
                _list(attribute, vr, vrs)
                return self._sequence(place, attribute, around, depth, vrs, notes, path)
            inner, warned = dict(vrs), list(notes)
            try:
                _list(attribute, vr, inner)
                texts = self._sequence(place, attribute, around, depth, inner, warned, path)
            except InputError:
                vr = "UN"  # only the dictionary said that it is a sequence
            else:
                vrs.update(inner)
                notes[:] = warned
                return texts
        elif place.undefined and vr not in values.BINARY:
            raise InputError(
                f"{attribute.name} has no length, which its VR {vr} does not allow: the file is damaged"
            )
        how = (attribute, vr, place.length, lambda: self._walker.read(place), around.charset)
        json, listed = plain_element(*how, notes, big=place.form.big)
        if listed:
            vrs.setdefault(listed[:10], listed)
        dicom = b"" if place.tag in dicom_json.HIDDEN else dicom_json.plain(*how, path, big=place.form.big)
        return json, dicom

    def _sequence(
        self,
        place: ElementSpan,
        attribute: Attribute,
        around: Surroundings,
        depth: int,
        vrs: dict[bytes, bytes],
        notes: list[Warning],
        path: str,
    ) -> tuple[bytes, bytes]:
        items: list[bytes] = []
        dicom_items: list[bytes] = []
        for number, elements in enumerate(self._walker.items(place, depth)):
            ordered = in_order(elements, notes)
            inside = self._surroundings(ordered, around, notes)
            texts = [
                self._element(
                    inner,
                    attribute_of(inner.tag),
                    inside,
                    depth + 1,
                    vrs,
                    notes,
                    f"{path}/{number}/{inner.tag:08X}",
                )
                for inner in ordered
            ]
            item = b"{" + b",".join([json for json, _ in texts]) + b"}"
            if not depth:
                self._count(item)
            items.append(item)
            dicom_items.append(b",".join([dicom for _, dicom in texts if dicom]))
        json = b"[" + b",".join(items) + b"]" if items else values.empty(attribute)
        return attribute.key + json, dicom_json.from_items(attribute, dicom_items)

    def _count(self, json: bytes) -> None:
        self._bytes += len(json)
        if self._bytes > METADATA:
            raise InputError(f"The metadata of the instance are larger than {METADATA} bytes")

    def _value(self, place: ElementSpan, attribute: Attribute, around: Surroundings) -> str | float | None:
        vr = vr_of(place, attribute, around)
        if place.length > 65_536 or place.undefined:
            return None
        try:
            return needed_value(attribute, vr, self._walker.read(place), around.charset, big=place.form.big)
        except values.InvalidValueError:
            return None


def vr_of(place: ElementSpan, attribute: Attribute, around: Surroundings) -> str:
    """The VR by which a value is read: that of the file, where it gives one that says something."""
    vr = place.vr
    if vr in values.KNOWN and vr != "UN":
        return vr
    if vr and vr != "UN":
        return "UN"
    known = attribute.vr
    if attribute.private and not known:
        if place.undefined:
            return "SQ"
        creator = around.creators.get(place.tag & 0xFFFF0000 | place.tag >> 8 & 0xFF)
        return dictionary.private_vr(place.tag, creator) if creator and not vr else "UN"
    if not known:
        return "SQ" if place.undefined else "UN"
    if len(known) == 2:
        return known
    if place.undefined:
        return "OB"
    if known == "US or SS":
        return "SS" if around.signed else "US"
    if known == "US or OW" and around.one_value:
        return "US"
    return "OW"


def _list(attribute: Attribute, vr: str, vrs: dict[bytes, bytes]) -> None:
    if not attribute.keyed:
        listed = listed_vr(attribute, vr)
        vrs.setdefault(listed[:10], listed)


def in_order(places: Sequence[ElementSpan], notes: list[Warning]) -> list[ElementSpan]:
    """Places by tag; the last of equal ones; no group lengths."""
    ordered: list[ElementSpan] = []
    last = -1
    sorted_already = True
    for place in places:
        if place.tag <= last:
            sorted_already = False
        last = place.tag
        if place.tag & 0xFFFF or place.tag >> 16 == 2:
            ordered.append(place)
    if sorted_already:
        return ordered
    unique = {place.tag: place for place in ordered}
    if len(unique) < len(ordered):
        twice = sorted({p.tag for p in ordered if unique[p.tag] is not p})
        names = ", ".join(attribute_of(tag).name for tag in twice[:8])
        notes.append(
            Warning("CoercionOfDataElements", f"{names}: there more than once, the last one is taken")
        )
    return [unique[tag] for tag in sorted(unique)]
