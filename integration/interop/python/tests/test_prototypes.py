"""The declared prototypes against the headers: ctypes believes whatever it is told."""

import ctypes
import re
import unittest
from pathlib import Path

from mfn import alm, client, cpe, dsr, dsr_pools, ifr

HEADERS = Path(__file__).resolve().parents[4] / "ffi" / "include" / "mfn"
DSR = {**dsr.PROTOTYPES, **dsr_pools.PROTOTYPES}
MODULES = {"ifr.h": ifr.PROTOTYPES, "dsr.h": DSR, "cpe.h": cpe.PROTOTYPES, "client.h": client.PROTOTYPES}
MODULES["alm.h"] = alm.PROTOTYPES
STRUCTS = {"dsr.h": {**dsr.STRUCTS, **dsr_pools.STRUCTS}, "cpe.h": cpe.STRUCTS}
WIDTHS = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "int32_t": 4, "uint64_t": 8, "size_t": 8, "float": 4, "double": 8}


def functions(header: str) -> dict[str, tuple[str, list[str]]]:
    """Result and parameters of each function of a header."""
    text = (HEADERS / header).read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    found = {}
    for result, name, parameters in re.findall(r"^([\w *]+?[ *])(mfn_\w+)\(([^)]*)\);", text, flags=re.M):
        listed = [] if parameters.strip() == "void" else [part.strip() for part in parameters.split(",")]
        found[name] = (result.strip(), listed)
    return found


def fields(header: str, struct: str) -> list[tuple[str, int]]:
    """Names and bytes of the fields of a struct of a header, arrays counted out."""
    text = (HEADERS / header).read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    constants = {name: int(number) for name, number in re.findall(r"#define (\w+) (\d+)$", text, flags=re.M)}
    body = re.search(rf"^struct {struct} {{(.*?)^}};", text, flags=re.M | re.S)
    found = []
    for declaration in body.group(1).split(";") if body else []:
        if not (name := re.search(r"(\w+)((?:\[\w+\])*)\s*$", declaration)):
            continue
        count = 1
        for dimension in re.findall(r"\[(\w+)\]", name.group(2)):
            count *= constants.get(dimension) or int(dimension)
        found.append((name.group(1), count * (width(declaration) or 0)))
    return found


def width(declaration: str) -> int | None:
    """Bytes of a parameter or result; None for void."""
    if "*" in declaration or "mfn_ifr_visit" in declaration:
        return ctypes.sizeof(ctypes.c_void_p)
    return next((size for name, size in WIDTHS.items() if re.search(rf"\b{name}\b", declaration)), None)


class Prototypes(unittest.TestCase):
    def test_each_has_the_widths_of_its_header(self) -> None:
        for header, prototypes in MODULES.items():
            declared = functions(header)
            self.assertGreaterEqual(len(declared), 4, f"{header} was not read")
            for name, (result, arguments) in prototypes.items():
                with self.subTest(function=name):
                    self.assertIn(name, declared)
                    c_result, parameters = declared[name]
                    self.assertEqual(None if result is None else ctypes.sizeof(result), width(c_result))
                    self.assertEqual([ctypes.sizeof(kind) for kind in arguments], [width(one) for one in parameters])

    def test_each_struct_has_the_fields_of_its_header(self) -> None:
        for header, structs in STRUCTS.items():
            for name, struct in structs.items():
                with self.subTest(struct=name):
                    declared = [(field, ctypes.sizeof(kind)) for field, kind in struct._fields_]
                    self.assertEqual(declared, fields(header, name))


if __name__ == "__main__":
    unittest.main()
