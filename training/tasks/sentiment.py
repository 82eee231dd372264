"""Whether a remark is positive, negative or neutral."""

from training.exchange import Exchange, ask, reply
from training.phrasing import Asks, request
from training.vocabulary import BAD, GOOD, REVIEWED
from training.world import Templates, World

REQUESTS = Templates(
    (
        "Is this review positive, negative or neutral?\n\n{text}",
        "Classify the sentiment: {text}",
        "Sentiment of this text? {text}",
        "{text}\n\nIs that positive, negative or neutral?",
        "What is the sentiment of this review?\n{text}",
        "Classify as positive, negative or neutral: {text}",
        "Text: {text}\nSentiment:",
        "Review: {text}\nPositive, negative or neutral?",
        "Tell me the sentiment of the following text.\n\n{text}",
        "Classify the sentiment of this text as positive, negative or neutral.\n\n{text}",
        'Is the sentiment of "{text}" positive, negative or neutral?',
        "Classify the sentiment of this sentence: {text}",
    ),
    (
        "How does the writer feel (positive, negative, neutral)? {text}",
        "Rate the mood of this remark, positive or negative or neutral.\n\n{text}",
    ),
)
ASKS = Asks(
    (
        "classify the sentiment of {this}",
        "tell me the sentiment of {this}",
        "say whether {this} is positive, negative or neutral",
        "decide if {this} is positive, negative or neutral",
        "label {this} as positive, negative or neutral",
        "judge the sentiment of {this}",
        "do a sentiment analysis of {this}",
        "give the sentiment of {this}",
        "find out if {this} is positive, negative or neutral",
        "determine the sentiment of {this}",
        "classify {this} as positive, neutral or negative",
        "mark {this} as negative, positive or neutral",
        "answer with positive, negative or neutral",
        "analyse the sentiment of {this}",
        "tell me if {this} is positive or negative or neutral",
        "identify the sentiment of {this}",
        "classify the mood of {this} as positive, negative or neutral",
        "sort {this} into positive, negative or neutral",
        "say how {this} sounds, positive, negative or neutral",
    ),
    (
        "is {this} positive, negative or neutral",
        "what is the sentiment of {this}",
        "does {this} sound positive, negative or neutral",
        "which sentiment does {this} have",
        "is {this} positive or negative or neutral",
        "positive, negative or neutral",
        "what feeling does {this} express, positive, negative or neutral",
        "how would you classify the sentiment of {this}",
        "is the opinion in {this} positive, negative or neutral",
        "is {this} a positive, a negative or a neutral review",
    ),
)
AGAIN = Templates(
    (
        "And this? {text}",
        "And this one: {text}",
        "What about this: {text}",
        "Now this one. {text}",
        "{text}",
        "Next: {text}",
        "And: {text}",
        "Another one: {text}",
    ),
    ("The same for this, please: {text}",),
)
POSITIVE = Templates(
    (
        "The {what} was {good}.",
        "The {what} in {place} was {good}.",
        "I loved the {what}.",
        "What a {what}! It was {good}.",
        "{p} said that the {what} was {good}.",
        "The {what} was not bad at all, it was {good}.",
        "We will come back: the {what} was {good}.",
        "I did not expect much, but the {what} was {good}.",
        "Everyone enjoyed the {what}.",
        "The {what} made my day.",
        "I feared the {what} would be {bad}, but it was {good}.",
        "The {what} was {good} and the people were {good2}.",
        "I am very happy with the {what}.",
        "Thank you for the {what}, it was {good}!",
        "{p} is delighted with the {what}.",
        "I recommend the {what} to everybody.",
        "It rained, but the {what} was {good}.",
        "I like this {what} a lot.",
        "This {what} is {good}.",
        "I really love this {what}, it is {good}!",
        "The {what} works very well.",
        "Best {what} ever.",
    ),
    (
        "Five stars for the {what} in {place}.",
        "Nothing about the {what} could be better.",
        "My whole family adored the {what}.",
    ),
)
NEGATIVE = Templates(
    (
        "The {what} was {bad}.",
        "The {what} in {place} was {bad}.",
        "I hated the {what}.",
        "What a {what}! It was {bad}.",
        "{p} said that the {what} was {bad}.",
        "The {what} was not good at all, it was {bad}.",
        "We will not come back: the {what} was {bad}.",
        "I expected a lot, but the {what} was {bad}.",
        "Nobody enjoyed the {what}.",
        "The {what} ruined my day.",
        "I hoped the {what} would be {good}, but it was {bad}.",
        "The {what} was {bad} and the people were {bad2}.",
        "I am very unhappy with the {what}.",
        "I want my money back, the {what} was {bad}!",
        "{p} is angry about the {what}.",
        "I would not recommend the {what} to anybody.",
        "The sun was out, but the {what} was {bad}.",
        "I do not like this {what}.",
        "This {what} is {bad}.",
        "I really hate this {what}, it is {bad}!",
        "The {what} broke after one day.",
        "Worst {what} ever.",
    ),
    (
        "Zero stars for the {what} in {place}.",
        "Nothing about the {what} could be worse.",
        "My whole family complained about the {what}.",
    ),
)
NEUTRAL = Templates(
    (
        "The {what} is in {place}.",
        "The {what} opens at {time}.",
        "We had the {what} on {day}.",
        "{p} wrote about the {what}.",
        "The {what} cost {price}.",
        "There is a {what} near the station.",
        "The {what} lasts two hours.",
        "{p} went to see the {what} on {day}.",
        "The {what} was {colour}.",
        "The {what} was neither good nor bad.",
        "The {what} begins on {day} at {time}.",
        "The {what} was okay, nothing special.",
        "{p} talked to {q} about the {what}.",
        "They changed the {what} on {date}.",
        "The {what} is next to the bridge.",
        "It is the same {what} as last year.",
        "I ordered the {what} on {day}.",
        "The {what} arrived on {day}.",
    ),
    ("One finds the {what} behind the town hall of {place}.", "A {what} was mentioned in the letter of {p}."),
)


def _remark(world: World) -> tuple[str, str]:
    label = world.pick(("positive", "negative", "neutral"))
    kinds = {"positive": POSITIVE, "negative": NEGATIVE, "neutral": NEUTRAL}
    text = world.say(
        kinds[label],
        what=world.pick(REVIEWED),
        place=world.place(),
        p=world.person().name,
        q=world.person().name,
        good=world.pick(GOOD),
        good2=world.pick(GOOD),
        bad=world.pick(BAD),
        bad2=world.pick(BAD),
        time=world.time(),
        day=world.weekday(),
        price=world.price(),
        date=world.date(),
        colour=world.pick(("red", "green", "blue", "grey", "brown")),
    )
    return text, label


def sentiment(world: World) -> Exchange:
    """One or two remarks, one word for each."""
    text, label = _remark(world)
    messages = [ask(request(world, REQUESTS, ASKS, text)), reply(label)]
    if world.chance(0.2):
        text, label = _remark(world)
        messages += [ask(world.say(AGAIN, text=text)), reply(label)]
    return Exchange("sentiment", tuple(messages))
