"""Sentences put into another tense or another tone."""

from training.exchange import Exchange, turns
from training.phrasing import Asks, request
from training.vocabulary import FOODS, GOODS, SPOTS
from training.world import Templates, World

VERBS = (  # base, third person, past, object
    ("walk", "walks", "walked", "to the {spot}"),
    ("go", "goes", "went", "to the {spot}"),
    ("buy", "buys", "bought", "some {goods}"),
    ("sell", "sells", "sold", "{goods}"),
    ("eat", "eats", "ate", "{food}"),
    ("cook", "cooks", "cooked", "{food}"),
    ("write", "writes", "wrote", "a letter to {q}"),
    ("read", "reads", "read", "a book"),
    ("meet", "meets", "met", "{q} at the {spot}"),
    ("see", "sees", "saw", "{q}"),
    ("help", "helps", "helped", "{q}"),
    ("call", "calls", "called", "{q}"),
    ("visit", "visits", "visited", "{q} in {place}"),
    ("travel", "travels", "travelled", "to {place}"),
    ("drive", "drives", "drove", "to {place}"),
    ("sing", "sings", "sang", "a song"),
    ("play", "plays", "played", "the violin"),
    ("paint", "paints", "painted", "the {spot}"),
    ("build", "builds", "built", "a boat"),
    ("make", "makes", "made", "a {thing}"),
    ("find", "finds", "found", "a {thing}"),
    ("lose", "loses", "lost", "a {thing}"),
    ("bring", "brings", "brought", "a {thing} to {q}"),
    ("give", "gives", "gave", "{q} a {thing}"),
    ("send", "sends", "sent", "a {thing} to {q}"),
    ("take", "takes", "took", "a {thing} to the {spot}"),
    ("wash", "washes", "washed", "a {thing}"),
    ("clean", "cleans", "cleaned", "the {spot}"),
    ("open", "opens", "opened", "the window"),
    ("close", "closes", "closed", "the door"),
    ("watch", "watches", "watched", "the birds"),
    ("hear", "hears", "heard", "a noise"),
    ("teach", "teaches", "taught", "{q} to swim"),
    ("drink", "drinks", "drank", "tea with {q}"),
    ("swim", "swims", "swam", "in the lake"),
    ("run", "runs", "ran", "to the {spot}"),
    ("work", "works", "worked", "at the {spot}"),
    ("live", "lives", "lived", "in {place}"),
    ("sleep", "sleeps", "slept", "in the barn"),
    ("wait", "waits", "waited", "for {q}"),
    ("speak", "speaks", "spoke", "to {q}"),
    ("think", "thinks", "thought", "of {q}"),
    ("wear", "wears", "wore", "a hat"),
    ("catch", "catches", "caught", "a fish"),
    ("carry", "carries", "carried", "a {thing}"),
    ("study", "studies", "studied", "the map of {place}"),
    ("repair", "repairs", "repaired", "a {thing}"),
    ("draw", "draws", "drew", "a picture of {q}"),
    ("want", "wants", "wanted", "some {goods}"),
    ("need", "needs", "needed", "a {thing}"),
    ("know", "knows", "knew", "{q}"),
    ("leave", "leaves", "left", "{place}"),
)
TENSE_REQUESTS = Templates(
    (
        "Rewrite in the {tense} tense: {text}",
        "Put this into the {tense} tense: {text}",
        "{text}\nRewrite this in the {tense} tense.",
        "Change the sentence to the {tense} tense.\n\n{text}",
        "Rewrite this sentence in the {tense} tense: {text}",
        "{tense_big} tense, please: {text}",
        "Turn this into {tense} tense: {text}",
        "Sentence: {text}\nWrite it in the {tense} tense.",
    ),
    ("How would you say this in the {tense}? {text}", "Move the following line to the {tense}: {text}"),
)
TONE_REQUESTS = Templates(
    (
        "Make this polite: {text}",
        "Rewrite this politely: {text}",
        "Rewrite in a polite tone: {text}",
        "{text}\nSay that politely.",
        "Rewrite the sentence in a polite tone.\n\n{text}",
        "Make this sound polite: {text}",
        "Rewrite this more politely: {text}",
        "Change the tone to polite: {text}",
    ),
    ("What would a well-mannered person say instead of this? {text}", "Please soften this sentence: {text}"),
)
FORMAL_REQUESTS = Templates(
    (
        "Make this formal: {text}",
        "Rewrite this in a formal tone: {text}",
        "Rewrite formally: {text}",
        "{text}\nSay that in a formal way.",
        "Change the tone to formal: {text}",
        "Make this sound formal: {text}",
        "Rewrite the sentence in a formal tone.\n\n{text}",
    ),
    ("I need this for an official letter: {text}", "Phrase this for an office: {text}"),
)
TENSE_ASKS = Asks(
    (
        "rewrite {this} in the {tense} tense",
        "put {this} into the {tense} tense",
        "change {this} to the {tense} tense",
        "convert {this} to {tense} tense",
        "write {this} in the {tense} tense",
        "turn {this} into the {tense} tense",
        "say {this} in the {tense} tense",
        "change the tense of {this} to {tense}",
        "use the {tense} tense",
        "rewrite {this} using the {tense} tense",
        "make the tense {tense}",
        "give me the {tense} tense of {this}",
        "transform {this} into the {tense} tense",
        "rephrase {this} in the {tense} tense",
    ),
    (
        "what is {this} in the {tense} tense",
        "what would {this} be in the {tense} tense",
        "how does {this} read in the {tense} tense",
    ),
)
POLITE_ASKS = Asks(
    (
        "make {this} polite",
        "make {this} more polite",
        "rewrite {this} politely",
        "rewrite {this} in a polite way",
        "say {this} more politely",
        "put {this} in a polite way",
        "rewrite {this} so that it is polite",
        "change {this} to a polite tone",
        "turn {this} into a polite sentence",
        "rewrite {this} in a polite tone",
        "make {this} sound more polite",
        "use a polite tone",
        "rephrase {this} politely",
    ),
    ("what is a polite way to say {this}", "how do I say {this} politely", "what would {this} be in a polite tone"),
)
FORMAL_ASKS = Asks(
    (
        "make {this} formal",
        "make {this} more formal",
        "rewrite {this} formally",
        "rewrite {this} in a formal way",
        "say {this} more formally",
        "put {this} in a formal way",
        "rewrite {this} so that it is formal",
        "change {this} to a formal tone",
        "turn {this} into a formal sentence",
        "rewrite {this} in a formal tone",
        "make {this} sound more formal",
        "use a formal tone",
        "rephrase {this} formally",
    ),
    ("what is a formal way to say {this}", "how do I say {this} formally", "what would {this} be in a formal tone"),
)
POLITE_PAIRS = (
    ("Give me the {thing}.", "Could you please give me the {thing}?"),
    ("Open the {thing}.", "Could you please open the {thing}?"),
    ("Bring the {thing} to {q}.", "Could you please bring the {thing} to {q}?"),
    ("Come to {place}.", "Could you please come to {place}?"),
    ("Send {q} the {goods}.", "Could you please send {q} the {goods}?"),
    ("Call {q} at {time}.", "Could you please call {q} at {time}?"),
    ("Wait for {q} at the {spot}.", "Could you please wait for {q} at the {spot}?"),
    ("Be quiet.", "Could you please be quiet?"),
    ("Tell {q} about the {thing}.", "Could you please tell {q} about the {thing}?"),
    ("Clean the {spot}.", "Could you please clean the {spot}?"),
    ("I want {food}.", "I would like {food}, please."),
    ("I want a {thing}.", "I would like a {thing}, please."),
    ("I want {count} {goods}.", "I would like {count} {goods}, please."),
    ("Move the {thing}.", "Could you please move the {thing}?"),
    ("Where is the {spot}?", "Could you please tell me where the {spot} is?"),
    ("Where is {q}?", "Could you please tell me where {q} is?"),
    ("What time is it?", "Could you please tell me what time it is?"),
    ("Shut the door.", "Could you please shut the door?"),
    ("Go away, {q}.", "{q}, could you please leave me alone?"),
    ("Hurry up, {q}!", "{q}, could you please be a little quicker?"),
    ("Buy {count} {goods} at the {spot}.", "Could you please buy {count} {goods} at the {spot}?"),
)
FORMAL_PAIRS = (
    ("Hi {q}, I can't come on {day}.", "Dear {q}, I am unable to come on {day}."),
    ("Hey {q}, thanks for the {thing}!", "Dear {q}, thank you for the {thing}."),
    ("Hey {q}, see you at {time}.", "Dear {q}, I will see you at {time}."),
    ("Hi {q}, sorry I'm late.", "Dear {q}, I apologize for being late."),
    ("We need {count} {goods} asap.", "We require {count} {goods} as soon as possible."),
    ("Hi {q}, where's my {thing}?", "Dear {q}, please inform me where my {thing} is."),
    ("Hey {q}, got your letter.", "Dear {q}, I have received your letter."),
    ("Hi {q}, we're gonna be in {place} on {day}.", "Dear {q}, we will be in {place} on {day}."),
    ("Hey {q}, the {thing} is broken, fix it.", "Dear {q}, the {thing} is broken. Please have it repaired."),
    ("Hi {q}, can't pay the {price} now.", "Dear {q}, I am unable to pay the {price} at present."),
    ("Hey {q}, let's meet at the {spot}.", "Dear {q}, I suggest that we meet at the {spot}."),
    ("Hi {q}, how about {day} at {time}?", "Dear {q}, I would like to propose {day} at {time}."),
    ("Thanks a lot, {q}!", "Thank you very much, {q}."),
)


def _slots(world: World) -> dict[str, str]:
    return {
        "q": world.person(0).name,
        "place": world.place(),
        "spot": world.pick(SPOTS),
        "goods": world.pick(GOODS),
        "food": world.pick(FOODS),
        "thing": world.thing(),
        "time": world.time(),
        "day": world.weekday(),
        "count": str(world.number(2, 30)),
        "price": world.price(),
    }


def tense(world: World) -> Exchange:
    """One sentence moved between present, past and future."""
    base, third, past, rest = world.pick(VERBS)
    rest = rest.format(**_slots(world))
    who = world.person(0).name
    subject, plural = who, False
    if world.chance(0.3):
        subject, plural = world.pick(
            (
                (f"{who} and {world.person(0).name}", True),
                ("We", True),
                ("They", True),
                ("I", True),
                ("She", False),
                ("He", False),
            )
        )
    forms = {
        "present": f"{subject} {base if plural else third} {rest}.",
        "past": f"{subject} {past} {rest}.",
        "future": f"{subject} will {base} {rest}.",
    }
    source, target = world.some(tuple(forms), 2)
    return turns(
        "rewriting",
        request(world, TENSE_REQUESTS, TENSE_ASKS, forms[source], tense=target, tense_big=target.capitalize()),
        forms[target],
    )


def tone(world: World) -> Exchange:
    """One sentence made polite or formal."""
    kinds = ((TONE_REQUESTS, POLITE_ASKS, POLITE_PAIRS), (FORMAL_REQUESTS, FORMAL_ASKS, FORMAL_PAIRS))
    requests, asks, pairs = world.pick(kinds)
    before, after = world.pick(pairs)
    slots = _slots(world)
    return turns("rewriting", request(world, requests, asks, before.format(**slots)), after.format(**slots))
