/** Tools for the data directories of stopped hosts: after a loss of quorum, and to look into what is there. */
export { type ShrinkOptions, type ShrinkReport, shrinkToSurvivors } from "./shrink.js";
