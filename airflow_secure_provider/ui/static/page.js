// Airflow keeps its theme in localStorage, and this page follows it: at once, and when it changes in Airflow's own page.
"use strict";
(function () {
  function follow() {
    var theme = null;
    try {
      theme = window.localStorage.getItem("theme");
    } catch (error) {
      // storage is not allowed: the system's theme it is
    }
    if (theme === "light" || theme === "dark") {
      document.documentElement.dataset.theme = theme;
    } else {
      delete document.documentElement.dataset.theme;
    }
  }
  follow();
  window.addEventListener("storage", follow);
})();
