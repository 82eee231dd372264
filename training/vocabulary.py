"""The fixed words of minnow's world: what there is, and what it can be like.

Plain tuples only. Names that are made up on the fly live in `names.py`.
"""

import textwrap


def _words(listed: str) -> tuple[str, ...]:
    return tuple(textwrap.dedent(listed).replace("\n", " ").strip().split(", "))


FIRST_NAMES = _words("""
    Anna, Ben, Clara, David, Emma, Felix, Grace, Henry, Iris, Jack, Kate, Leo, Maria, Noah, Olivia, Paul, Rosa, Sam,
    Tess, Victor, Alice, Bob, Carol, Daniel, Ella, Frank, Hannah, Ivan, Julia, Karl, Lucy, Martin, Nina, Oscar,
    Peter, Ruth, Sara, Thomas, Vera, Will, Amir, Bella, Chen, Diego, Eva, Fatima, George, Hugo, Ines, James, Kim,
    Lara, Mia, Nadia, Omar, Priya, Ravi, Sofia, Tom, Yuki, John, Mary, Robert, Linda, Michael, Susan, Alex, Max,
    Zoe, Luca, Elena, Jonas, Marta, Nico, Pia, Stefan, Tina, Adam, Lily, Mark
""")
CITIES = _words("""
    London, Paris, Berlin, Madrid, Rome, Vienna, Oslo, Lisbon, Dublin, Athens, Prague, Warsaw, Helsinki, Tokyo,
    Delhi, Cairo, Boston, Chicago, Toronto, Sydney, Seattle, Denver, Austin, Nairobi, Lima, Seoul, Geneva, Zurich,
    Hamburg, Munich, Milan, Naples, Porto, Bergen, Ghent, Lyon, Bristol, Leeds, York, Oxford, Cambridge, Edinburgh,
    Stockholm, Copenhagen, Amsterdam, Brussels, Budapest, Singapore, Bangkok, Montreal, Havana, Quito, Tampa, Miami
""")
JOBS = _words("""
    baker, teacher, doctor, farmer, painter, sailor, carpenter, nurse, gardener, cook, potter, miller, writer,
    singer, driver, weaver, fisherman, librarian, clockmaker, blacksmith, tailor, plumber, electrician, engineer,
    actor, artist, postman, builder, dentist, pilot, shepherd, beekeeper, photographer, mechanic, judge, guide,
    ferryman, lawyer, musician, waiter
""")
ANIMALS = _words("""
    dog, cat, horse, goat, parrot, rabbit, hen, duck, donkey, pony, goose, tortoise, hamster, sheep, cow, owl, fox,
    pig, ferret, canary, turtle, mouse, frog, otter
""")
HERD = _words("""
    hens, goats, sheep, cows, ducks, rabbits, horses, bees, pigs, geese, cats, dogs
""")
THINGS = _words("""
    kettle, lamp, chair, table, clock, basket, coat, hat, scarf, boat, bicycle, book, mirror, map, drum, violin,
    guitar, vase, rug, blanket, umbrella, ladder, hammer, saw, bucket, rope, lantern, candle, teapot, bowl, plate,
    jug, knife, ring, necklace, watch, key, box, chest, suitcase, bag, wallet, letter, painting, statue, flute,
    kite, ball, doll, toy train, tent, compass, telescope, camera, radio, phone, pen, notebook, desk, shelf, bed,
    pillow, mug, spade, rake, wheelbarrow, cart, saddle, helmet, glove, shoe, boot, shirt, dress, jacket, laptop,
    oven, pan, broom, piano, stove, sofa
""")
FOODS = _words("""
    apple pie, plum cake, onion soup, bread, cheese, honey, pancakes, fish stew, roast chicken, mushroom soup, rice,
    noodles, salad, beans, porridge, cherry tart, lemon cake, ginger biscuits, pumpkin soup, potato salad, tea,
    coffee, hot chocolate, milk, apple juice, pizza, pasta, curry, ice cream, toast, jam, waffles, dumplings,
    grilled fish, carrot cake, butter, walnuts, peaches
""")
GOODS = _words("""
    apples, pears, lemons, candles, nails, bricks, eggs, loaves, oranges, plates, cups, chairs, lamps, pencils,
    notebooks, blankets, bottles, boxes, ropes, baskets, tiles, towels, spoons, forks, bowls, shirts, socks,
    batteries, light bulbs, paint brushes, flower pots, jars, tickets, stamps, envelopes, cushions, curtains, hooks,
    pizzas, sandwiches, coffees, muffins
""")
HOBBIES = _words("""
    chess, swimming, painting, dancing, reading, fishing, running, singing, cooking, gardening, hiking, sailing,
    knitting, football, tennis, cycling, skating, photography, poetry, baking, climbing, drawing, music, astronomy
""")
COLOURS = _words("""
    red, blue, green, yellow, white, black, brown, grey, purple, orange, pink, golden
""")
MATERIALS = _words("""
    wooden, brass, silver, copper, glass, woollen, leather, iron, old, new, small, large
""")
MONTHS = _words("""
    January, February, March, April, May, June, July, August, September, October, November, December
""")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SEASONS = ("spring", "summer", "autumn", "winter")
VEHICLES = _words("""
    train, bus, boat, ferry, bicycle, car, plane, tram, horse, taxi, coach, ship
""")
EVENTS = _words("""
    lantern fair, book fair, boat race, spring market, harvest feast, chess contest, winter ball, flower show,
    cheese market, kite festival, music festival, village dance, film night, bread contest, art show, school play,
    jazz concert, marathon, poetry evening, craft market
""")
SPOTS = _words("""
    bridge, market, station, harbour, library, school, mill, park, church, museum, well, inn, bakery, forest, lake,
    beach, square, theatre, garden, lighthouse, barn, castle, old tower, post office, town hall, river, hill,
    orchard, cafe, bookshop, hospital, playground
""")
SHOPS = _words("""
    market, bookshop, bakery, corner shop, hardware store, antique shop, toy shop, department store, flea market,
    harbour shop, village shop, craft fair
""")
CURRENCIES = ("coins", "euros", "dollars", "pounds")
NUMBER_WORDS = _words("""
    zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve
""")
GOOD = _words("""
    wonderful, lovely, excellent, delightful, superb, charming, great, fantastic, perfect, amazing, beautiful,
    brilliant, very good, outstanding, pleasant, friendly, delicious, a joy, a real treat, splendid, marvellous,
    terrific, impressive, better than I hoped, well made, worth every penny, superbly done, a pleasure, first class,
    just right, awesome, incredible, nice, good, really good, enjoyable, stunning, top, flawless, comfortable, a
    success, a delight, cosy, helpful, fun, exciting, tasty, fresh and tasty, quick and friendly, clean and bright,
    magnificent, gorgeous, reliable, remarkable, superior, heavenly, a dream
""")
BAD = _words("""
    awful, terrible, horrible, disappointing, poor, dreadful, dull, boring, rude, dirty, broken, a waste of money,
    bad, very bad, useless, unpleasant, slow and cold, badly made, a mess, overpriced, worse than I feared, a
    disaster, noisy and dirty, miserable, not worth the price, ugly, a let-down, unacceptable, shabby, tasteless,
    annoying, the worst I have seen, really bad, cold and tasteless, lousy, horrid, disgusting, unfriendly, a
    failure, a nightmare, painful, weak, slow, smelly, cheap and ugly, unreliable, a scandal, depressing, stale,
    frustrating, mediocre at best, cracked and dirty, far too loud, far too expensive, a rip-off, awkward, sad
""")
REVIEWED = _words("""
    hotel, soup, film, book, concert, ferry, museum, cafe, service, food, room, play, tour, market, train ride,
    cake, restaurant, staff, shop, bed, view, garden, coat, lamp, kettle, game, song, show, phone, camera, coffee,
    breakfast, teacher, class, boat trip, waiter, movie, product, pizza, app, weather, dinner, beach, pool, lesson,
    park, garden tour, meal, bread, soup of the day, chair, sofa, laptop, jacket, bus ride, flight, exhibition,
    festival, party, guide, hairdresser, gym, library, story, painting, radio, watch, tea, ice cream, bakery, inn,
    driver, delivery
""")
OUTSIDE = _words("""
    quantum physics, the French Revolution, photosynthesis, black holes, the stock market, Napoleon, the Roman
    Empire, neural networks, the moon landing, the speed of light, DNA, the Second World War, Shakespeare, calculus,
    the theory of relativity, Bitcoin, the United Nations, the Great Wall of China, volcanoes, dinosaurs, Albert
    Einstein, the human heart, climate change, the Python language, JavaScript, the Eiffel Tower, Mount Everest, the
    Amazon river, Mozart, the Olympic Games, gravity, electricity, the internet, inflation, the periodic table,
    vaccines, the pyramids, Mars, Jupiter, the Pacific Ocean, Beethoven, Leonardo da Vinci, the Cold War, evolution,
    algebra, SQL databases, Linux, GPUs, the president of the United States, the constitution, protein folding,
    tectonic plates, machine learning, philosophy, Plato, Buddhism, the solar system, nuclear power, antibiotics,
    the Renaissance, prime numbers, the Pythagorean theorem, Java, Rust, Kubernetes, cryptography, Wikipedia, the
    Bible, Amazon, Google, Tesla, Microsoft, cancer, diabetes, the brain, blood pressure, world hunger, democracy,
    capitalism, karate, yoga, opera, jazz, the Beatles, Picasso, Harry Potter, Star Wars, soccer rules, poker,
    sushi, whales, bacteria, viruses, atoms, lasers, rockets, satellites, the ozone layer, earthquakes, hurricanes,
    the Sahara, Antarctica, the Vikings, the Black Death, the Middle Ages, Julius Caesar, Cleopatra, Gandhi, Marie
    Curie, Isaac Newton, Darwin, Tolstoy, Goethe, astrology, chemistry, biology, economics, robots, blockchain, the
    stock exchange, Docker, Git, CSS, C++, deep learning, transformers, large language models
""")
COUNTRIES = _words("""
    France, Germany, Spain, Italy, Japan, China, India, Brazil, Canada, Australia, Egypt, Kenya, Mexico, Norway,
    Sweden, Poland, Greece, Turkey, Russia, Argentina, Chile, Peru, Portugal, Iceland, Mongolia, Vietnam, Thailand,
    Morocco, Nigeria, Finland, Austria, Switzerland
""")
