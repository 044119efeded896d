"""The opponents of the sampling task, in three pools that never meet: training, held out, other games."""

from __future__ import annotations

_OPPONENTS = """
teacher farmer doctor tailor painter driver sailor lawyer miner potter judge waiter barber butcher jeweller weaver
grocer florist dancer poet singer drummer violinist juggler clown magician goalkeeper swimmer runner cyclist skater
climber fencer rower archer boxer gymnast surfer referee coach pupil scholar linguist chemist botanist historian
philosopher economist
| baker pilot nurse carpenter plumber gardener fisher cook librarian dentist postman mechanic cobbler mason welder
roofer locksmith watchmaker beekeeper shepherd forester ranger diver astronaut engineer architect surveyor geologist
physicist biologist mathematician accountant banker cashier clerk secretary translator editor reporter novelist
printer bookbinder sculptor photographer actor director pianist organist
| captain sergeant detective firefighter paramedic surgeon pharmacist optician veterinarian zookeeper trainer jockey
conductor composer comedian presenter tourist pilgrim hermit neighbour cousin landlord mayor senator
"""

TRAIN, HELD_OUT, OOD = (tuple(pool.split()) for pool in _OPPONENTS.split("|"))
