/** The door of master/api: the gRPC admin service of a master. */
export { type AdminService, type AdminServiceOptions, startAdminService } from "./admin-service.js";
