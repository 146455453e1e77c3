mod client;
mod oracle;
mod servers;
mod torture;
