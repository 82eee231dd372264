"""What a short text is about, one of ten topics."""

from training.exchange import Exchange, turns
from training.phrasing import Asks, request
from training.vocabulary import ANIMALS, FOODS, HOBBIES, VEHICLES
from training.world import Templates, World

REQUESTS = Templates(
    (
        "What is the topic of this text? Choose from {labels}.\n\n{text}",
        "Topic ({labels}): {text}",
        "{text}\n\nWhich topic is that: {labels}?",
        "Classify the topic of the text. Topics: {labels}.\nText: {text}",
        "What is this about: {labels}?\n{text}",
        "Choose one topic from {labels}.\n\n{text}",
        "Text: {text}\nTopics: {labels}\nTopic:",
        "Which of these topics fits: {labels}? Text: {text}",
    ),
    ("Sort this note into one of the drawers {labels}: {text}", "Name the subject, one out of {labels}.\n{text}"),
)
ASKS = Asks(
    (
        "choose the topic of {this} from {labels}",
        "pick the topic that fits {this}: {labels}",
        "classify {this} as one of {labels}",
        "tell me the topic of {this}: {labels}",
        "label {this} with one of these topics: {labels}",
        "assign {this} to one of these: {labels}",
        "find the topic of {this} among {labels}",
        "say what {this} is about ({labels})",
        "name the topic of {this}; the choices are {labels}",
        "give the topic of {this}, one of {labels}",
        "determine the topic. Topics: {labels}",
        "select the category of {this}: {labels}",
        "put {this} into one of the categories {labels}",
        "classify the topic of {this} ({labels})",
    ),
    (
        "what is {this} about: {labels}",
        "which topic does {this} belong to: {labels}",
        "what is the topic of {this}: {labels}",
        "which of {labels} is {this} about",
        "is {this} about {labels}",
        "which category fits {this}: {labels}",
        "what topic is {this}, out of {labels}",
    ),
)
TEXTS: dict[str, Templates] = {
    "weather": Templates(
        (
            "Heavy rain is expected in {place} on {day}.",
            "The snow in {place} melted by {day}.",
            "A cold wind blows over {place}.",
            "It will be sunny and warm on {day}.",
            "Fog covered the hills near {place} all morning.",
            "A storm with thunder reached {place}.",
            "The temperature fell below zero on {day}.",
            "Clouds will clear by {day}.",
        ),
        ("{place} woke up to ice and frost.", "Umbrellas will be needed in {place}."),
    ),
    "food": Templates(
        (
            "{p} cooked {food} for the guests.",
            "Add some salt to the {food} and stir.",
            "The recipe for {food} needs two eggs.",
            "{p} ordered {food} for lunch.",
            "The kitchen smelled of {food}.",
            "We ate {food} and drank tea.",
            "{p} baked a cake and served {food}.",
        ),
        ("Nobody could resist a second helping of {food}.", "Chop the onions before you make {food}."),
    ),
    "travel": Templates(
        (
            "The {vehicle} to {place} leaves at {time}.",
            "{p} packed a suitcase for the journey to {place}.",
            "We stayed at a hotel in {place} for a week.",
            "{p} missed the {vehicle} to {place}.",
            "The trip from {place} to {place2} takes two hours.",
            "{p} bought a ticket to {place}.",
            "Tourists come to {place} every summer.",
        ),
        ("{p} lost a passport on the way to {place}.", "Passengers for {place} change here."),
    ),
    "sport": Templates(
        (
            "{p} won the race in {place}.",
            "The team from {place} lost the match.",
            "{p} scored two goals on {day}.",
            "The players train every {day}.",
            "The football match ended two to one.",
            "{p} ran the marathon in three hours.",
            "{p} won the tennis final.",
        ),
        ("The goalkeeper from {place} caught every ball.", "{p} broke the record in the long jump."),
    ),
    "music": Templates(
        (
            "{p} played the violin at the concert.",
            "The choir of {place} sang on {day}.",
            "{p} wrote a new song.",
            "The band played until midnight.",
            "{p} is learning to play the piano.",
            "The orchestra gave a concert in {place}.",
            "The drummer and the singer practise on {day}.",
        ),
        ("A melody on the flute came from the window of {p}.", "{p} tuned the guitar."),
    ),
    "work": Templates(
        (
            "{p} started a new job in {place}.",
            "The office opens at {time}.",
            "{p} has a meeting with the boss on {day}.",
            "The company in {place} hired {p}.",
            "{p} wrote a report for the manager.",
            "The workers asked for better pay.",
            "{p} applied for a job as a clerk.",
        ),
        ("{p} was promoted to head of the department.", "Colleagues of {p} share one desk."),
    ),
    "health": Templates(
        (
            "{p} went to the doctor with a cough.",
            "The nurse gave {p} some medicine.",
            "{p} has a fever and stays in bed.",
            "The hospital in {place} has new beds.",
            "{p} broke an arm and needs rest.",
            "Drink water and sleep well to stay healthy.",
            "The dentist looked at the tooth of {p}.",
        ),
        ("{p} takes a pill against headaches.", "A bandage was put on the knee of {p}."),
    ),
    "animals": Templates(
        (
            "The {animal} of {p} sleeps in the barn.",
            "{p} feeds the {animal} at {time}.",
            "A wild {animal} was seen near {place}.",
            "The {animal} has three young ones.",
            "The {animal} ran away and hid in the woods.",
            "{p} took the {animal} for a walk.",
            "Birds build their nests in spring.",
        ),
        ("A {animal} was born at the farm near {place}.", "The fur of the {animal} is thick in winter."),
    ),
    "money": Templates(
        (
            "{p} paid {price} for the rent.",
            "The bank in {place} gave {p} a loan.",
            "{p} saved {price} this month.",
            "Prices went up on {day}.",
            "{p} owes {q} {price}.",
            "{p} put {price} into the savings account.",
            "The tax on houses will rise.",
        ),
        ("{p} counted the coins: {price}.", "The budget of {place} has a hole of {price}."),
    ),
    "school": Templates(
        (
            "{p} passed the exam on {day}.",
            "The pupils in {place} learn to read.",
            "{p} forgot the homework.",
            "The teacher gave the class a test.",
            "{p} is in the third grade.",
            "Lessons begin at {time}.",
            "The students wrote an essay on {day}.",
        ),
        ("{p} raised a hand in the classroom.", "The new term in {place} starts on {day}."),
    ),
}
ALL = tuple(TEXTS)


def topic(world: World) -> Exchange:
    """One text and the name of its topic out of three to ten on offer."""
    label = world.pick(ALL)
    labels = world.some([name for name in ALL if name != label], world.number(2, 9))
    labels.insert(world.number(0, len(labels)), label)
    text = world.say(
        TEXTS[label],
        p=world.person().name,
        q=world.person().name,
        place=world.place(),
        place2=world.place(),
        day=world.weekday(),
        time=world.time(),
        price=world.price(),
        food=world.pick(FOODS),
        animal=world.pick(ANIMALS),
        vehicle=world.pick(VEHICLES),
        hobby=world.pick(HOBBIES),
    )
    listed = ", ".join(labels) if world.chance(0.6) else ", ".join(labels[:-1]) + " or " + labels[-1]
    return turns("topic", request(world, REQUESTS, ASKS, text, labels=listed), label)
