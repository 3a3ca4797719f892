"""Grade a module: points, and for what is wrong a sentence that says why.

    python docs/assignments/grade.py 3 out/starter [--student NAME] [--csv grades.csv]

The student's files are imported, so grade only what you would run. Exit status: 0 all
points, 1 fewer, 2 bad input.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="1 to 7")
    parser.add_argument("folder", type=Path, help="the student's copy")
    parser.add_argument("--student", default="nobody", help="keys the numbers")
    parser.add_argument(
        "--csv", type=Path, help="append a row: student,module,points,of"
    )
    args = parser.parse_args(argv)
    folder = args.folder.resolve()
    found = sorted(HERE.glob(f"{args.module}-*/checks.py"))
    if len(found) != 1 or not (folder / "grpo.py").exists():
        what = f"no module {args.module}" if len(found) != 1 else f"no copy in {folder}"
        print(f"grade.py: {what}; see docs/assignments/README.md", file=sys.stderr)
        return 2
    if args.csv and args.csv.is_dir():
        print(f"grade.py: --csv is a file, {args.csv} a folder", file=sys.stderr)
        return 2
    marker = folder / "starter.json"
    try:
        made = json.loads(marker.read_text()) if marker.exists() else {}
    except ValueError:
        print(f"grade.py: {marker} is damaged: make the starter anew", file=sys.stderr)
        return 2
    if made and (made["module"], made["student"]) != (args.module, args.student):
        print(
            f"grade.py: {folder} is module {made['module']} of {made['student']}, not "
            f"{args.module} of {args.student}",
            file=sys.stderr,
        )
        return 2
    # Ours first, so that no file of a student takes the grader's place; then theirs:
    # `import grpo` is the student's.
    sys.path[:0] = [str(HERE), str(found[0].parent)]
    import checks
    import grading

    theirs = folder / found[0].parent.relative_to(HERE.parents[1])
    sys.path[:2] = [str(folder), str(theirs)]
    del sys.modules["checks"], sys.modules["grading"]  # not for theirs to import
    rows = grading.grade(checks.CHECKS, folder, args.student)
    for check, points, wrong in rows:
        what = "" if check.name.startswith("answers.") else f": {check.what}"
        print(f"{points:2} of {check.points:2}  {check.name}{what}")
        if wrong:
            print(f"          {wrong}")
    points = sum(points for _, points, _ in rows)
    most = sum(check.points for check, _, _ in rows)
    print(f"{points} of {most} points")
    if args.csv:  # the last row of a student and module counts
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        new = not args.csv.exists()
        with open(args.csv, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["student", "module", "points", "of"])
            writer.writerow([args.student, args.module, points, most])
    return int(points < most)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
