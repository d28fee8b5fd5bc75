"""The 130 tasks of LIBERO by name; all of them are held out (design: section 10).

LIBERO (Liu et al. 2023, arXiv 2306.03310): a task's name is its scene and its sentence. A benchmark
(``libero_90``, ``libero_10``, ``libero_goal``, ``libero_spatial``, ``libero_object``) is part of
the file's path only, since no two tasks share a name.
"""

from __future__ import annotations

import re

from sole.sims.suite import SuiteTask

# benchmark | scene (- for none) | sentence | sentence ...
_TABLE = """
libero_90 | KITCHEN_SCENE10 | close the top drawer of the cabinet | close the top drawer of the cabinet and put the black bowl on top of it | put the black bowl in the top drawer of the cabinet | put the butter at the back in the top drawer of the cabinet and close it | put the butter at the front in the top drawer of the cabinet and close it | put the chocolate pudding in the top drawer of the cabinet and close it
libero_90 | KITCHEN_SCENE1 | open the bottom drawer of the cabinet | open the top drawer of the cabinet | open the top drawer of the cabinet and put the bowl in it | put the black bowl on the plate | put the black bowl on top of the cabinet
libero_90 | KITCHEN_SCENE2 | open the top drawer of the cabinet | put the black bowl at the back on the plate | put the black bowl at the front on the plate | put the middle black bowl on the plate | put the middle black bowl on top of the cabinet | stack the black bowl at the front on the black bowl in the middle | stack the middle black bowl on the back black bowl
libero_90 | KITCHEN_SCENE3 | put the frying pan on the stove | put the moka pot on the stove | turn on the stove | turn on the stove and put the frying pan on it
libero_90 | KITCHEN_SCENE4 | close the bottom drawer of the cabinet | close the bottom drawer of the cabinet and open the top drawer | put the black bowl in the bottom drawer of the cabinet | put the black bowl on top of the cabinet | put the wine bottle in the bottom drawer of the cabinet | put the wine bottle on the wine rack
libero_90 | KITCHEN_SCENE5 | close the top drawer of the cabinet | put the black bowl in the top drawer of the cabinet | put the black bowl on the plate | put the black bowl on top of the cabinet | put the ketchup in the top drawer of the cabinet
libero_90 | KITCHEN_SCENE6 | close the microwave | put the yellow and white mug to the front of the white mug
libero_90 | KITCHEN_SCENE7 | open the microwave | put the white bowl on the plate | put the white bowl to the right of the plate
libero_90 | KITCHEN_SCENE8 | put the right moka pot on the stove | turn off the stove
libero_90 | KITCHEN_SCENE9 | put the frying pan on the cabinet shelf | put the frying pan on top of the cabinet | put the frying pan under the cabinet shelf | put the white bowl on top of the cabinet | turn on the stove | turn on the stove and put the frying pan on it
libero_90 | LIVING_ROOM_SCENE1 | pick up the alphabet soup and put it in the basket | pick up the cream cheese box and put it in the basket | pick up the ketchup and put it in the basket | pick up the tomato sauce and put it in the basket
libero_90 | LIVING_ROOM_SCENE2 | pick up the alphabet soup and put it in the basket | pick up the butter and put it in the basket | pick up the milk and put it in the basket | pick up the orange juice and put it in the basket | pick up the tomato sauce and put it in the basket
libero_90 | LIVING_ROOM_SCENE3 | pick up the alphabet soup and put it in the tray | pick up the butter and put it in the tray | pick up the cream cheese and put it in the tray | pick up the ketchup and put it in the tray | pick up the tomato sauce and put it in the tray
libero_90 | LIVING_ROOM_SCENE4 | pick up the black bowl on the left and put it in the tray | pick up the chocolate pudding and put it in the tray | pick up the salad dressing and put it in the tray | stack the left bowl on the right bowl and place them in the tray | stack the right bowl on the left bowl and place them in the tray
libero_90 | LIVING_ROOM_SCENE5 | put the red mug on the left plate | put the red mug on the right plate | put the white mug on the left plate | put the yellow and white mug on the right plate
libero_90 | LIVING_ROOM_SCENE6 | put the chocolate pudding to the left of the plate | put the chocolate pudding to the right of the plate | put the red mug on the plate | put the white mug on the plate
libero_90 | STUDY_SCENE1 | pick up the book and place it in the front compartment of the caddy | pick up the book and place it in the left compartment of the caddy | pick up the book and place it in the right compartment of the caddy | pick up the yellow and white mug and place it to the right of the caddy
libero_90 | STUDY_SCENE2 | pick up the book and place it in the back compartment of the caddy | pick up the book and place it in the front compartment of the caddy | pick up the book and place it in the left compartment of the caddy | pick up the book and place it in the right compartment of the caddy
libero_90 | STUDY_SCENE3 | pick up the book and place it in the front compartment of the caddy | pick up the book and place it in the left compartment of the caddy | pick up the book and place it in the right compartment of the caddy | pick up the red mug and place it to the right of the caddy | pick up the white mug and place it to the right of the caddy
libero_90 | STUDY_SCENE4 | pick up the book in the middle and place it on the cabinet shelf | pick up the book on the left and place it on top of the shelf | pick up the book on the right and place it on the cabinet shelf | pick up the book on the right and place it under the cabinet shelf
libero_10 | LIVING_ROOM_SCENE2 | put both the alphabet soup and the tomato sauce in the basket | put both the cream cheese box and the butter in the basket
libero_10 | KITCHEN_SCENE3 | turn on the stove and put the moka pot on it
libero_10 | KITCHEN_SCENE4 | put the black bowl in the bottom drawer of the cabinet and close it
libero_10 | LIVING_ROOM_SCENE5 | put the white mug on the left plate and put the yellow and white mug on the right plate
libero_10 | STUDY_SCENE1 | pick up the book and place it in the back compartment of the caddy
libero_10 | LIVING_ROOM_SCENE6 | put the white mug on the plate and put the chocolate pudding to the right of the plate
libero_10 | LIVING_ROOM_SCENE1 | put both the alphabet soup and the cream cheese box in the basket
libero_10 | KITCHEN_SCENE8 | put both moka pots on the stove
libero_10 | KITCHEN_SCENE6 | put the yellow and white mug in the microwave and close it
libero_goal | - | open the middle drawer of the cabinet | put the bowl on the stove | put the wine bottle on top of the cabinet | open the top drawer and put the bowl inside | put the bowl on top of the cabinet | push the plate to the front of the stove | put the cream cheese in the bowl | turn on the stove | put the bowl on the plate | put the wine bottle on the rack
libero_spatial | - | pick up the black bowl between the plate and the ramekin and place it on the plate | pick up the black bowl next to the ramekin and place it on the plate | pick up the black bowl from table center and place it on the plate | pick up the black bowl on the cookie box and place it on the plate | pick up the black bowl in the top drawer of the wooden cabinet and place it on the plate | pick up the black bowl on the ramekin and place it on the plate | pick up the black bowl next to the cookie box and place it on the plate | pick up the black bowl on the stove and place it on the plate | pick up the black bowl next to the plate and place it on the plate | pick up the black bowl on the wooden cabinet and place it on the plate
libero_object | - | pick up the alphabet soup and place it in the basket | pick up the cream cheese and place it in the basket | pick up the salad dressing and place it in the basket | pick up the bbq sauce and place it in the basket | pick up the ketchup and place it in the basket | pick up the tomato sauce and place it in the basket | pick up the butter and place it in the basket | pick up the milk and place it in the basket | pick up the chocolate pudding and place it in the basket | pick up the orange juice and place it in the basket
"""  # noqa: E501

_REWORDINGS = (
    (r"^pick up (.+?) and (?:place|put) it", r"put \1"),
    (r"^pick up", "take"),
    (r"^put both", "place both"),
    (r"^put", "place"),
    (r"^stack", "put"),
    (r"^open", "pull open"),
    (r"^close", "shut"),
    (r"^turn on", "switch on"),
    (r"^turn off", "switch off"),
    (r"^push", "slide"),
    (r" on top of ", " on "),
    (r"(?<!turn) on the ", " onto the "),
    (r" in the ", " into the "),
    (r" inside$", " into it"),
)
_FAMILIES = {"open": "drawer", "close": "drawer", "turn": "dial", "push": "push", "stack": "stack"}


def reworded(sentence: str) -> tuple[str, ...]:
    """Other instructions that mean the same, one for each rule that applies.

    Example:
        >>> reworded("turn on the stove")
        ('switch on the stove',)
        >>> reworded("pick up the milk and place it in the basket")[0]
        'put the milk in the basket'
    """
    said = [re.sub(pattern, other, sentence, count=1) for pattern, other in _REWORDINGS]
    return tuple(dict.fromkeys(other for other in said if other != sentence))


def _task(scene: str, sentence: str) -> SuiteTask:
    words = sentence.replace(" ", "_")
    return SuiteTask(
        name=words if scene == "-" else f"{scene}_{words}",
        sentence=sentence,
        paraphrases=reworded(sentence),
        # What is worked on changes within an episode; the facts name it.
        object_name="",
        goal_name="",
        family=_FAMILIES.get(sentence.split()[0], "pick-place"),
        split="test",
        expert=False,
    )


def _read() -> tuple[dict[str, SuiteTask], dict[str, str]]:
    tasks, files = {}, {}
    for line in _TABLE.strip().splitlines():
        benchmark, scene, *sentences = (cell.strip() for cell in line.split("|"))
        for sentence in sentences:
            task = _task(scene, sentence)
            tasks[task.name] = task
            files[task.name] = f"{benchmark}/{task.name}.bddl"
    return tasks, files


#: Every task by its LIBERO name, and its file inside LIBERO's folder of problems.
TASKS, PROBLEM_FILES = _read()
