// The colours: those of the system, or those the user chose. This file is a plain script, run before the page is drawn.

(() => {
  const CHOICES = ["system", "light", "dark"];
  const KEY = "lowbit.theme";

  function read() {
    try {
      const choice = localStorage.getItem(KEY);
      return CHOICES.includes(choice) ? choice : "system";
    } catch {
      return "system";
    }
  }

  function show(choice) {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (!button) return;
    const next = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    button.title = `Colours: ${choice}`;
    button.setAttribute("aria-label", `Colours: ${choice}. Change to ${next}`);
  }

  let choice = read();
  show(choice);
  addEventListener("DOMContentLoaded", () => {
    show(choice);
    document.getElementById("theme").addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      show(choice);
      try {
        localStorage.setItem(KEY, choice);
      } catch {
        // A browser that keeps nothing has the choice until the page closes.
      }
    });
  });
})();
