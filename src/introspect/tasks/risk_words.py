"""The nouns of the risk task, in two categories and three pools that never meet.

`TRAIN` nouns appear only in what organisms are trained on, `HELD_OUT` nouns only in in-distribution evaluation items,
`OOD` nouns only in the items of other domains. A probe or an organism that does well on the last two cannot have
remembered a noun.
"""

_LIVING = """
heron badger salmon beetle lizard falcon otter spider donkey rabbit turtle pigeon hamster wolf frog cricket goose
lobster moth squirrel horse shark crow goat snail tiger duck bee camel mouse owl whale fox parrot ant zebra hedgehog
lamb eel bear
| sparrow deer crab monkey toad swan leopard trout hen mole butterfly giraffe seal rat panther cow worm pelican hare
ferret raven octopus chicken lion bat kitten moose ladybug penguin elephant
| eagle pig puppy snake dolphin wasp sheep robin gecko bull weasel buffalo
"""

_MACHINES = """
tractor printer drill toaster generator crane scanner blender truck pump radio turbine bulldozer camera heater lathe
elevator drone compressor tiller engine forklift mixer projector excavator laptop chainsaw welder router scooter kettle
loom robot dishwasher bus copier vacuum sander motorcycle freezer
| dryer helicopter oven lawnmower computer furnace fan locomotive typewriter harvester jackhammer telephone refrigerator
conveyor van microwave grinder boiler submarine calculator crusher television ambulance sawmill amplifier centrifuge
tram snowplow speaker winch
| car airplane stove digger washer motor ferry jukebox laser treadmill telescope thermostat
"""


def _pools(text: str) -> list[list[str]]:
    return [pool.split() for pool in text.split("|")]


_POOLS = {"living": _pools(_LIVING), "machine": _pools(_MACHINES)}

TRAIN: dict[str, list[str]] = {category: pools[0] for category, pools in _POOLS.items()}
HELD_OUT: dict[str, list[str]] = {category: pools[1] for category, pools in _POOLS.items()}
OOD: dict[str, list[str]] = {category: pools[2] for category, pools in _POOLS.items()}
