"""What happens to somebody: meetings, journeys, events."""

from training.facts.kind import FactKind, Question, Slots
from training.vocabulary import EVENTS, VEHICLES
from training.world import Templates, World


def _meeting(world: World) -> Slots:
    return {"friend": world.person().name, "place": world.place(), "day": world.weekday()}


def _trip(world: World) -> Slots:
    return {"place": world.place(), "vehicle": world.pick(VEHICLES), "date": world.date()}


def _event(world: World) -> Slots:
    return {"event": world.pick(EVENTS), "date": world.date(), "place": world.place()}


MEETING = FactKind(
    "meeting",
    "friend",
    _meeting,
    Templates(
        (
            "{p} met {friend} in {place} on {day}.",
            "{p} met {friend} on {day} in {place}.",
            "{p} ran into {friend} in {place} on {day}.",
            "{p} had lunch with {friend} in {place} on {day}.",
        ),
        ("{p} saw {friend} in {place} last {day}.",),
    ),
    (
        Question(
            Templates(
                (
                    "Who did {p} meet?",
                    "Who has {p} met?",
                    "Which person did {p} meet?",
                    "Who did {p} see?",
                    "Who did {p} run into?",
                    "Whom did {p} meet?",
                    "Who did {p} meet on {day}?",
                    "Who did {p} meet in {place}?",
                ),
                ("With whom did {p} spend time?",),
            ),
            "{p} met {friend}.",
        ),
        Question(
            Templates(
                (
                    "Where did {p} meet {friend}?",
                    "Where was it that {p} met {friend}?",
                    "In what town did {p} and {friend} meet?",
                    "Where has {p} met {friend}?",
                    "Where did {p} and {friend} meet?",
                    "In which town did {p} meet {friend}?",
                ),
                ("In what place did {p} and {friend} see each other?",),
            ),
            "{p} met {friend} in {place}.",
        ),
        Question(
            Templates(
                (
                    "When did {p} meet {friend}?",
                    "On what day did {p} meet {friend}?",
                    "What day did {p} meet {friend}?",
                    "When was it that {p} met {friend}?",
                    "On which day did {p} meet {friend}?",
                    "When did {p} and {friend} meet?",
                ),
                ("What day was it when {p} met {friend}?",),
            ),
            "{p} met {friend} on {day}.",
        ),
        Question(
            Templates(("Who met {friend}?", "Who ran into {friend}?"), ("Who was it that met {friend}?",)),
            "{p} met {friend}.",
        ),
    ),
)
TRIP = FactKind(
    "trip",
    "place",
    _trip,
    Templates(
        (
            "{p} went to {place} by {vehicle} on {date}.",
            "{p} travelled to {place} by {vehicle} on {date}.",
            "{p} took a {vehicle} to {place} on {date}.",
            "{p} left for {place} by {vehicle} on {date}.",
        ),
        ("{p} made a journey to {place} by {vehicle} on {date}.",),
    ),
    (
        Question(
            Templates(
                (
                    "Where did {p} go?",
                    "Where did {p} travel to?",
                    "Which place did {p} visit?",
                    "Where has {p} been?",
                    "To which town did {p} go?",
                    "Which town did {p} travel to?",
                    "Where did {p} go on {date}?",
                ),
                ("What was the goal of {p}'s journey?",),
            ),
            "{p} went to {place}.",
        ),
        Question(
            Templates(
                (
                    "How did {p} go to {place}?",
                    "How did {p} travel?",
                    "What did {p} take to get to {place}?",
                    "Which way of travel did {p} choose?",
                    "By what did {p} travel?",
                    "How did {p} get to {place}?",
                    "How did {p} travel to {place}?",
                ),
                ("By what means did {p} reach {place}?",),
            ),
            "{p} went to {place} by {vehicle}.",
        ),
        Question(
            Templates(
                (
                    "When did {p} go to {place}?",
                    "When did {p} travel to {place}?",
                    "On which date did {p} go to {place}?",
                    "What was the date of the trip to {place}?",
                    "When was {p} in {place}?",
                    "On what date did {p} travel?",
                    "When did {p} leave for {place}?",
                ),
                ("What was the date of {p}'s trip?",),
            ),
            "{p} went to {place} on {date}.",
        ),
        Question(
            Templates(
                ("Who went to {place}?", "Who travelled to {place}?", "Who took a {vehicle} to {place}?"),
                ("Which person made a trip to {place}?",),
            ),
            "{p} went to {place}.",
        ),
    ),
)
EVENT = FactKind(
    "event",
    "event",
    _event,
    Templates(
        (
            "{p} will go to the {event} in {place} on {date}.",
            "{p} will be at the {event} in {place} on {date}.",
            "{p} has a ticket for the {event} in {place} on {date}.",
            "{p} is helping at the {event} in {place} on {date}.",
        ),
        ("{p} looks forward to the {event} in {place} on {date}.",),
    ),
    (
        Question(
            Templates(
                (
                    "When is the {event}?",
                    "On which day is the {event}?",
                    "When does the {event} take place?",
                    "What is the date of the {event}?",
                    "On what date is the {event}?",
                    "When is the {event} in {place}?",
                    "What date is the {event}?",
                ),
                ("Which day is the {event} held on?",),
            ),
            "The {event} is on {date}.",
        ),
        Question(
            Templates(
                (
                    "Where is the {event}?",
                    "Where does the {event} take place?",
                    "Which town has the {event}?",
                    "In what town is the {event}?",
                    "In which town is the {event}?",
                    "Where will the {event} be?",
                ),
                ("Which town holds the {event}?",),
            ),
            "The {event} is in {place}.",
        ),
        Question(
            Templates(
                ("Who will be at the {event}?", "Who will go to the {event}?"), ("Who plans to be at the {event}?",)
            ),
            "{p} will be at the {event}.",
        ),
    ),
)
