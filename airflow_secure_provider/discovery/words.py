"""Words by which names of persons, companies and streets are known: frequent ones of many languages, without accents, in
lower case."""

from __future__ import annotations

import importlib.resources


def words_of(name: str) -> frozenset[str]:
    """Of a text file beside this one."""
    return frozenset(
        importlib.resources.files(__package__).joinpath(f"{name}.txt").read_text("ascii").split()
    )


COMPANY = frozenset(
    """
    ab ag and aps as bank bv co company corp corporation e eireli et gbr gmbh group holding holdings hospital inc kg
    kgaa lda llc ltd ltda nv ohg oy partners plc sa sarl sas school se service services shop sl solutions sons spa
    srl store systems ug und university y
    """.split()  # noqa: SIM905
)

STREET = (
    r"street|st\.?|avenue|ave\.?|road|rd\.?|boulevard|blvd\.?|lane|ln\.?|drive|dr\.?|court|ct\.?|highway|hwy|square|sq\.?"
    r"|terrace|parkway|pkwy|circle|crescent|close|way|plaza|box"
    r"|alley|bypass|causeway|cliffs?|corner|cove|creek|crossing|estates?|extension|field|flats?|ford|forge|fork|garden(?:s)?|glens?"
    r"|green|grove|harbor|heights|hills?|hollow|island|isle|junction|key|knolls?|lakes?|landing|light|loop|manor|meadows?|mews"
    r"|mills?|mission|mount|mountain|oval|park|pass|path|pike|pines?|plains?|point|port|prairie|ranch|rapids?|rest|ridge|river|row"
    r"|run|shoals?|shores?|spring(?:s)?|spur|station|stream|summit|trace|track|trail|tunnel|turnpike|union|unions|valley|viaduct"
    r"|view|village|ville|vista|walk|wall|well|wells|apt\.?|suite|flat|unit|studio|psc"
    r"|rue|chemin|allee|place|quai|impasse|route|cours"
    r"|calle|c/|avenida|avda\.?|av\.?|paseo|camino|carrer|carretera|ronda|rambla|plaza|via|viale|piazza|corso|vicolo|largo"
    r"|jalan|jl\.?|jln\.?|gang|gg\.?|carrera|cra\.?|diagonal|transversal|pasaje|prolongacion|andador|bulevar|privada|cerrada"
    r"|strada|contrada|borgo|rua|r\.|travessa|alameda|praca|rodovia|ulica|ul\.?|aleja|al\.?|plac|pl\.?|os\.?|ulice|namesti|náměstí|námestie|cesta|trg|utca|ut|sokak|sok\.?"
    r"|caddesi|cad\.?|cadde|mahallesi|mah\.?|bulvari|bulevardi|vagen|gatan|gata|gt\.?|vei|veien|gade|vej|katu|tie|utca|ut"
)
STREET_ENDING = (
    r"strasse|stra(?:ss|ß)e|str\.?|weg|platz|allee|gasse|ring|damm|ufer|straat|laan|plein|gracht|kade|singel|dreef|hof|steeg"
    r"|gatan|vagen|vägen|nabrezje|nabrežje|cesta|gata|grand|gränd|stigen|backen|gade|vej|alle|allé|vænget|veien|vegen|katu|tie|polku|kuja|utca"
)
