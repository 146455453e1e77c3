mod client;
mod oracle;
mod servers;
