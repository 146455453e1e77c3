//! Stories of groups, told to the machine as a coordinator would: requests, time and take-overs in, answers and rows out.
mod classic;
mod consumer;
mod driver;
mod migration;
mod offsets;
mod schedules;
