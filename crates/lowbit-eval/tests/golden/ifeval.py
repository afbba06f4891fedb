"""Makes ifeval.json: what lm-evaluation-harness's checks of IFEval say of made-up responses.

    python3 ifeval.py FOLDER > ifeval.json

FOLDER holds lm_eval (0.4.13). Left out are the kinds that langdetect and nltk's models decide: languages, sentences, capitals.
"""

import json
import random
import sys
import types

folder = sys.argv[1]
stub = types.ModuleType("langdetect")
stub.detect = lambda text: "en"
stub.LangDetectException = type("LangDetectException", (Exception,), {})
sys.modules["langdetect"] = stub
for name in ["lm_eval", "lm_eval.tasks", "lm_eval.tasks.ifeval"]:
    package = types.ModuleType(name)
    package.__path__ = [folder + "/" + name.replace(".", "/")]
    sys.modules[name] = package
for name in ["nltk", "immutabledict"]:
    try:
        __import__(name)
    except ImportError:
        module = types.ModuleType(name)
        module.immutabledict = dict
        sys.modules[name] = module
sys.path.insert(0, folder)
source = open(folder + "/lm_eval/tasks/ifeval/instructions_util.py").read()
util = types.ModuleType("lm_eval.tasks.ifeval.instructions_util")
body = source.replace("\ndownload_nltk_resources()\n", "\n")
exec(compile(body, "instructions_util", "exec"), util.__dict__)
util.count_words = lambda text: len(__import__("re").findall(r"\w+", text))
sys.modules[util.__name__] = util
sys.modules["lm_eval.tasks.ifeval"].instructions_util = util
from lm_eval.tasks.ifeval import utils  # noqa: E402

LESS, LEAST = "less than", "at least"
INSTRUCTIONS = [
    ("keywords:existence", {"keywords": ["river", "Boat"]}),
    ("keywords:existence", {"keywords": ["gree[nt]"]}),
    ("keywords:frequency", {"keyword": "river", "frequency": 2, "relation": LEAST}),
    ("keywords:frequency", {"keyword": " the ", "frequency": 3, "relation": LESS}),
    ("keywords:forbidden_words", {"forbidden_words": ["boat", "tree"]}),
    ("keywords:letter_frequency", {"letter": "e", "let_frequency": 12, "let_relation": LEAST}),
    ("keywords:letter_frequency", {"letter": "R", "let_frequency": 4, "let_relation": LESS}),
    ("length_constraints:number_words", {"num_words": 20, "relation": LEAST}),
    ("length_constraints:number_words", {"num_words": 9, "relation": LESS}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 1}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 3}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "the"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "the"}),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}),
    ("detectable_content:number_placeholders", {"num_placeholders": 3}),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}),
    ("detectable_content:postscript", {"postscript_marker": "Note"}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}),
    ("detectable_format:constrained_response", {}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 3}),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 1}),
    ("detectable_format:multiple_sections", {"section_spliter": " Section ", "num_sections": 2}),
    ("detectable_format:json_format", {}),
    ("detectable_format:title", {}),
    ("combination:two_responses", {}),
    ("combination:repeat_prompt", {"prompt_to_repeat": "The river is green. "}),
    ("startend:end_checker", {"end_phrase": "The END."}),
    ("startend:quotation", {}),
    ("punctuation:no_comma", {}),
]
PIECES = [
    "The river is green.", "the boat, she said, is old", "THE RIVER", "Then we left.", "'Then' we went", "green tree",
    "A river, a river and a boat.", "[name]", "[a] and [b]", "*", "**", "***", "******", "* item", "- item", "*one*",
    "**two words**", "* *", "<<Title>>", "<< >>", "Section 1", "Section2", "P.S. more", "p. s. less", "P. P. S. more",
    "note it", "My answer is no.", "my answer is yes.", "{\"a\": [1, 2]}", "```json\n{\"a\": 1}\n```", "[1, 2]",
    "```\n\"x\"\n```", "The end.", "the END.\"", "\"", "\"quoted\"", "über ΣΑΣ größer", "数 字 一二", "", "  ", "Sure! Here it is:",
]
JOINTS = [" ", "\n", "\n\n", "\n\n", "\n***\n", " *** ", "\n******\n", ""]

random.seed(1)
responses = ["", " ", *PIECES]
while len(responses) < 300:
    text = random.choice(PIECES)
    for _ in range(random.randint(1, 6)):
        text += random.choice(JOINTS) + random.choice(PIECES)
    case = random.random()
    text = text.upper() if case < 0.06 else text.lower() if case < 0.12 else f'"{text}"' if case < 0.18 else text
    responses.append(text)

instructions = []
for name, kwargs in INSTRUCTIONS:
    row = utils.InputExample(key=0, instruction_id_list=[name], prompt="", kwargs=[kwargs])
    of = lambda test: "".join("01"[test(row, text).follow_all_instructions] for text in responses)  # noqa: E731
    strict, loose = of(utils.test_instruction_following_strict), of(utils.test_instruction_following_loose)
    assert "0" in strict and "1" in strict, (name, kwargs, strict)
    instructions.append({"name": name, "kwargs": kwargs, "strict": strict, "loose": loose})
print(json.dumps({"responses": responses, "instructions": instructions}, ensure_ascii=False, indent=0))
